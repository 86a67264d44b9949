# SPDX-License-Identifier: GPL-3.0-or-later
"""Bases of what several registered classes share.

Such a base is none of Blender's classes, or Blender would take it for one to register. For a type checker it is one, so
that what every operator has is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import bpy

if TYPE_CHECKING:
    AddonPreferences = bpy.types.AddonPreferences
    Operator = bpy.types.Operator
else:
    AddonPreferences = Operator = object

Result = set[Literal["RUNNING_MODAL", "CANCELLED", "FINISHED", "PASS_THROUGH", "INTERFACE"]]
"""What an operator returns."""
