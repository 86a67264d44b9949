# SPDX-License-Identifier: GPL-3.0-or-later
"""What is registered with Blender, in order."""

from __future__ import annotations

import bpy

from . import (
    deliveries,
    forecast,
    monitor,
    operators,
    panels,
    plate_watch,
    preferences,
    project_files,
    properties,
    thumbnails,
)

CLASSES = (
    preferences.CvdPreferences,
    properties.CvdDelivery,
    properties.CvdProperties,
    properties.CvdQueuedShot,
    properties.CvdQueue,
    *operators.CLASSES,
    *panels.CLASSES,
)


def register() -> None:
    """Register classes, the properties of scenes and of the queue, the import menu and the monitor."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Scene.cvd = bpy.props.PointerProperty(type=properties.CvdProperties)
    bpy.types.WindowManager.cvd_queue = bpy.props.PointerProperty(type=properties.CvdQueue)
    bpy.types.TOPBAR_MT_file_import.append(panels.draw_import_menu)
    project_files.register()  # before the monitor: a file that was opened is looked at in this order
    monitor.register()
    operators.install.register()
    deliveries.register()


def unregister() -> None:
    """Undo `register`, in reverse."""
    project_files.unregister()
    operators.install.unregister()
    deliveries.unregister()
    monitor.unregister()
    forecast.unregister()
    plate_watch.unregister()
    thumbnails.unregister()
    bpy.types.TOPBAR_MT_file_import.remove(panels.draw_import_menu)
    del bpy.types.WindowManager.cvd_queue
    del bpy.types.Scene.cvd
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
