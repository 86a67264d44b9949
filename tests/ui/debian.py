"""A real Blender from Debian's packages, in a folder of its own below `.venvs/`, and how to run a program in there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLENDER = ("blender", "python3-numpy", "python3-requests", "python3-cattr", "python3-zstandard")
SCREEN = ("xvfb", "imagemagick", "libgl1-mesa-dri", "libegl1", "fonts-dejavu-core", "python3-xlib")
STAMP = "made-by-consistent-video-depth"
SIZE = "about 0.5 GB to download, 1.3 GB on disk"

# Mounts of a namespace of their own end with its last process, so none can be left behind or be deleted through.
ENTER = """
root=$1; shift
mount --rbind / "$root/host"
for part in proc sys dev; do mount --rbind "/$part" "$root/$part"; done
mount -t tmpfs none "$root/tmp"
while [ "$1" != -- ]; do mkdir -p "$root$1"; mount --rbind "$1" "$root$1"; shift; done; shift
exec chroot "$root" "$@"
"""


class NoDebianError(Exception):
    """Debian's Blender cannot be had on this computer; the text says why."""


def folder(suite: str) -> Path:
    """Where Debian's `suite` is kept between runs."""
    return (ROOT / ".venvs" / f"debian-{suite}").resolve()


def ensure(suite: str) -> Path:
    """Make the folder unless it is there and whole.

    Raises:
        NoDebianError: this computer or its user cannot make it.
    """
    root, stamp = folder(suite), " ".join((*BLENDER, *SCREEN))
    if (root / STAMP).is_file() and (root / STAMP).read_text() == stamp:
        return root
    if os.name == "nt" or os.geteuid() != 0:
        raise NoDebianError("making a Debian with Blender in it needs root on Linux")
    missing = [name for name in ("debootstrap", "unshare", "chroot") if shutil.which(name) is None]
    if missing:
        raise NoDebianError(f"not installed: {', '.join(missing)}")
    print(f"making {root} ({SIZE})", flush=True)
    # Of other packages, or half made. Nothing is mounted there outside of a namespace.
    shutil.rmtree(root, ignore_errors=True)
    _must("debootstrap", "--variant=minbase", suite, root)
    (root / "host").mkdir()
    quiet = ("env", "DEBIAN_FRONTEND=noninteractive")
    _must(*enter(root, (), *quiet, "apt-get", "install", "--yes", "--no-install-recommends", *BLENDER, *SCREEN))
    _must("chroot", root, "apt-get", "clean")
    (root / STAMP).write_text(stamp)
    return root


def enter(root: Path, shared: tuple[Path, ...], *command: str | Path) -> list[str]:
    """The command line that runs `command` in `root`.

    `shared` folders are there under the names they have outside, and the whole computer is below /host: `chroot /host`
    leads back to it.
    """
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-eu", "-c", ENTER, "sh", root, *shared, "--"]
    return [str(word) for word in (*words, *command)]


def _must(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], check=False)
    if done.returncode != 0:
        raise NoDebianError(f"{command[0]} ended with code {done.returncode}; its own words are above")
