# SPDX-License-Identifier: GPL-3.0-or-later
"""What is registered with Blender, in order."""

from __future__ import annotations

import bpy

from . import monitor, operators, panels, preferences, properties

CLASSES = (preferences.CvdPreferences, properties.CvdProperties, *operators.CLASSES, *panels.CLASSES)


def register() -> None:
    """Register classes, the scene's properties, the import menu and the monitor."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.cvd = bpy.props.PointerProperty(type=properties.CvdProperties)
    bpy.types.TOPBAR_MT_file_import.append(panels.draw_import_menu)
    monitor.register()


def unregister() -> None:
    """Undo `register`, in reverse."""
    monitor.unregister()
    bpy.types.TOPBAR_MT_file_import.remove(panels.draw_import_menu)
    del bpy.types.Scene.cvd
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
