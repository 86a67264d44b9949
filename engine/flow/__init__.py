"""Which pixel of one frame shows the scene point of a pixel of another."""
