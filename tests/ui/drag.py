"""Drags a file or folder onto a place of the screen and drops it: `python3 drag.py PATH X Y`, from the top left.

The source's part of XDND (https://www.freedesktop.org/wiki/Specifications/XDND), as a file manager plays it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from Xlib import X, Xatom, display
from Xlib.protocol import event

VERSION = 5


def drop(path: Path, x: int, y: int) -> None:
    """Returns when the target has taken it.

    Raises:
        LookupError: no window takes files.
    """
    screen = display.Display()
    root = screen.screen().root
    atom = screen.intern_atom
    target = _target(root, atom("XdndAware"))
    source = root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)
    source.set_selection_owner(atom("XdndSelection"), X.CurrentTime)

    def tell(name: str, *words: int) -> None:
        data = (32, [source.id, *words, *[0] * (4 - len(words))])
        target.send_event(event.ClientMessage(window=target, client_type=atom(name), data=data))
        screen.flush()

    def hear(name: str) -> None:
        """Wait for the target's answer, and meanwhile say what is dragged when it asks."""
        while True:
            got = screen.next_event()
            if got.type == X.SelectionRequest:
                got.requestor.change_property(got.property, got.target, 8, f"{path.as_uri()}\r\n".encode())
                named = {part: getattr(got, part) for part in ("time", "requestor", "selection", "target", "property")}
                got.requestor.send_event(event.SelectionNotify(**named))
                screen.flush()
            elif got.type == X.ClientMessage and got.client_type == atom(name):
                return

    root.warp_pointer(x, y)
    tell("XdndEnter", VERSION << 24, atom("text/uri-list"))
    for step in (20, 10, 0):  # it moves
        tell("XdndPosition", 0, (x - step) << 16 | y, X.CurrentTime, atom("XdndActionCopy"))
        hear("XdndStatus")
    tell("XdndDrop", 0, X.CurrentTime)
    hear("XdndFinished")


def _target(window: Any, aware: int) -> Any:
    """The window that takes files."""
    for child in window.query_tree().children:
        if child.get_full_property(aware, Xatom.ATOM) is not None:
            return child
        try:
            return _target(child, aware)
        except LookupError:
            continue
    raise LookupError("no window takes files")


if __name__ == "__main__":
    drop(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
