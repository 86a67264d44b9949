# SPDX-License-Identifier: GPL-3.0-or-later
"""The cameras of the engine's database, whose sensors are known."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from . import preferences


@cache
def _database() -> dict[str, dict[str, Any]]:
    path = preferences.engine_root() / "engine" / "cameras" / "database.json"
    if not path.is_file():  # the add-on is there without its engine
        return {}
    cameras: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cameras"]
    return cameras


@cache
def _items() -> tuple[tuple[str, str, str], ...]:
    # Kept: Blender does not keep the texts of a dynamic enum alive.
    return tuple(
        (name, name, f"{entry['sensor_mm'][0]:g} mm wide" if "sensor_mm" in entry else "A start for the focal length")
        for name, entry in _database().items()
    )


def items(_cvd: Any, _context: Any) -> tuple[tuple[str, str, str], ...]:
    """All of them, for an enum."""
    return _items()


def has_sensor(body: str) -> bool:
    """The camera's sensor is known, so that a focal length in mm says what it shows."""
    return "sensor_mm" in _database().get(body, {})
