"""Steps of a solve that may fail without taking the rest with them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

from engine.errors import CvdError

Result = TypeVar("Result")


def attempted(what: str, work: Callable[[], Result], otherwise: Result) -> Result:
    """What `work` gives; `otherwise` where it fails: numpy and pycolmap raise what they like on degenerate input.

    The failure goes to the log of the solving process. Errors of the engine's own, and a lack of memory, pass.
    """
    try:
        return work()
    except (CvdError, MemoryError):
        raise
    except Exception:
        print(f"{what} failed, other ways are tried:", file=sys.stderr)
        traceback.print_exc()
        return otherwise
