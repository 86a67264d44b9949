# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators."""

from __future__ import annotations

from . import build, deliver, doubt, hints, import_solve, install, log, matte, orient, place, queue, solve

CLASSES = (
    *install.CLASSES,
    *solve.CLASSES,
    *queue.CLASSES,
    *log.CLASSES,
    *import_solve.CLASSES,
    *build.CLASSES,
    *doubt.CLASSES,
    *deliver.CLASSES,
    *matte.CLASSES,
    *orient.CLASSES,
    *place.CLASSES,
    *hints.CLASSES,
)
