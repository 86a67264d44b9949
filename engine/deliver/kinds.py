"""What can be delivered, and what it is called there. Imports nothing, as options are looked at before any work."""

from __future__ import annotations

KINDS = (
    "depth", "inverse-depth", "distance", "normals", "position", "chan", "colmap", "points", "mesh", "stmaps", "plate",
    "nuke",
)  # fmt: skip
NAMES = {
    "inverse-depth": "inverse_depth", "chan": "camera.chan", "points": "points.ply", "mesh": "mesh.obj",
    "plate": "undistorted", "nuke": "comp.nk",
}  # fmt: skip
"""File or folder of a kind, where it is not called like it."""


def name_of(kind: str) -> str:
    """File or folder of a kind in the delivery."""
    return NAMES.get(kind, kind)
