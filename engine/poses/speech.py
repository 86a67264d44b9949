"""How a solving process speaks to the engine that started it; see `child`."""

from __future__ import annotations

import json
import os
import sys


def say(kind: str, value: object) -> None:
    """One JSON object a line: {"step": [done, total, message]}, {"metric": [name, value]}, {"warning": message},
    {"preview": `cvd.preview/1`} or {"error": {code, what, why, fix}}.
    """
    print(json.dumps({kind: value}), flush=True)


def end_with_parent() -> None:
    """End this process as soon as its standard input closes. Blocks: for a thread of its own."""
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read, which Python cannot shut down while it waits
    os._exit(1)
