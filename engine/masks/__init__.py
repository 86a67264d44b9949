"""What moves by itself: told by the artist or a segmentation network, or found because no camera explains it."""
