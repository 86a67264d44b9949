"""Footage: movies and image sequences as frames with exact numbers, and the checks before any long work."""

from engine.footage.clip import Footage, FrameFiles, frame_name, probe, read_frames, read_proxy, read_stored
from engine.footage.preflight import prepare

__all__ = ["Footage", "FrameFiles", "frame_name", "prepare", "probe", "read_frames", "read_proxy", "read_stored"]
