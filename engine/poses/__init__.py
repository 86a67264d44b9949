"""Poses: cameras, lens and sparse points of a clip, by pycolmap in a process of its own."""

from engine.poses.cameras import solve
from engine.request import LensRequest

__all__ = ["LensRequest", "solve"]
