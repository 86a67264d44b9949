# SPDX-License-Identifier: GPL-3.0-or-later
"""Consistent Video Depth: solve a clip's camera and depth with the engine, and build a scene that holds CG."""


def register() -> None:
    """Register everything with Blender."""
    # Imported here, so that the modules which know nothing of Blender can be used without it.
    from . import registration

    registration.register()


def unregister() -> None:
    """Leave nothing behind."""
    from . import registration

    registration.unregister()
