"""Consistent Video Depth engine: footage in, solve folder out. Never imports bpy."""

__version__ = "0.3.0"
