"""Consistent Video Depth engine: footage in, solve folder out. Never imports bpy."""

import os

__version__ = "0.7.0"

# A damaged picture that says it has more pixels than that is refused before memory is taken for it. It stands here
# since OpenCV reads it when it is loaded.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**28))
