# SPDX-License-Identifier: GPL-3.0-or-later
"""The operators."""

from __future__ import annotations

from . import build, import_solve, solve

CLASSES = (*solve.CLASSES, *import_solve.CLASSES, *build.CLASSES)
