"""Standard output that holds any text. Imports nothing else of the engine, so that the doctor can use it."""

from __future__ import annotations

import io
import sys


def survive_any_encoding() -> None:
    """Write what the encoding of standard output does not have as an escape, instead of dying with the work done.

    Standard error does so by itself. Redirected output is cp1252 on Windows and ASCII where a locale says nothing, and
    names of files are in every script.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
