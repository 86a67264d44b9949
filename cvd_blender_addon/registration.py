# SPDX-License-Identifier: GPL-3.0-or-later
"""What is registered with Blender, in order."""

from __future__ import annotations

import bpy

from . import (
    deliveries,
    fields,
    forecast,
    monitor,
    operators,
    panels,
    plate_watch,
    project_files,
    properties,
    thumbnails,
)

CLASSES = (
    panels.CvdPreferences,
    properties.CvdDelivery,
    properties.CvdPlace,
    properties.CvdHint,
    properties.CvdProperties,
    properties.CvdQueuedShot,
    properties.CvdQueue,
    *operators.CLASSES,
    *panels.CLASSES,
)


def register() -> None:
    """Register classes, the properties of scenes and of the queue, the import menu and the monitor."""
    for cls in CLASSES:
        fields.declare(cls)
        bpy.utils.register_class(cls)
    setattr(bpy.types.Scene, properties.NAME, fields.group(type=properties.CvdProperties))
    setattr(bpy.types.WindowManager, properties.QUEUE, fields.group(type=properties.CvdQueue))
    properties.when_clip_changes.append(forecast.forget)
    properties.when_folder_changes.append(monitor.attach)
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
    properties.when_clip_changes.clear()
    properties.when_folder_changes.clear()
    delattr(bpy.types.WindowManager, properties.QUEUE)
    delattr(bpy.types.Scene, properties.NAME)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
