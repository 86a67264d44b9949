"""Runs a program with a screen: `SCREEN=1600x900 python3 display.py PROGRAM ARGUMENTS...`. Its own Xvfb, or the
user's screen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys


def main(command: list[str]) -> int:
    """Returns the program's exit code."""
    if shutil.which("Xvfb") is None:
        if "DISPLAY" not in os.environ:
            sys.exit("There is no screen: install Xvfb (Debian: xvfb).")
        return subprocess.call(command)
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", f"{os.environ['SCREEN']}x24", "-nolisten", "tcp"],
        pass_fds=(writing,),
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            number = pipe.readline().strip()  # comes when the screen is there
        if not number:
            sys.exit("Xvfb did not start.")
        return subprocess.call(command, env=os.environ | {"DISPLAY": f":{number}"})
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
