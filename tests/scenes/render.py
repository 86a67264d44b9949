"""Writes a shot to disk in the form of the project's other ground truth, which `engine evaluate` reads."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine.files import write_json
from engine.geometry.arrays import Lens
from tests.scenes.imaging import expose
from tests.scenes.shots import Shot
from tests.scenes.surfaces import Bank

REVISION = 1
"""Counted up when the pictures of every shot change."""

_FARTHEST = 65534  # 65535 means no value


def is_rendered(shot: Shot, folder: Path) -> bool:
    """The folder holds this very shot, whole."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(meta.get("revision") == [REVISION, shot.revision])


def render_shot(shot: Shot, bank: Bank, folder: Path) -> None:
    """Write `frames/`, `depth/`, `mask/` (where something moves by itself), `truth.json` and `meta.json`.

    The folder appears whole or not at all; one that is there is replaced.
    """
    making = folder.with_name(f".{folder.name}")
    shutil.rmtree(making, ignore_errors=True)
    world = shot.world(bank)
    frames = []
    for name in ("frames", "depth", *(["mask"] if world.movers else [])):
        (making / name).mkdir(parents=True)
    for number, time in zip(shot.numbers, shot.times or range(len(shot.numbers)), strict=True):
        frame = expose(world, shot.camera, float(time), np.random.default_rng([shot.seed, number]))
        name = f"{number:06d}.png"
        _write(making / "frames" / name, frame.picture[..., ::-1])
        steps = np.where(np.isfinite(frame.depth), frame.depth / shot.depth_unit, 0.0)
        _write(making / "depth" / name, np.where(steps <= _FARTHEST, steps + 0.5, 0.0).astype(np.uint16))
        if world.movers:
            _write(making / "mask" / name, frame.moving.astype(np.uint8) * 255)
        frames.append(
            {
                "number": number,
                "file": f"frames/{name}",
                "world_from_camera": shot.camera.path(float(time)).tolist(),
                "depth": f"depth/{name}",
                "mask": f"mask/{name}" if world.movers else None,
                "focal_px": shot.camera.lens(float(time)).fx,
            }
        )
    (making / "truth.json").write_text(json.dumps(truth_of(shot, frames), indent=1), encoding="utf-8")
    meta = {
        "name": shot.name,
        "about": shot.about,
        "revision": [REVISION, shot.revision],
        "n_frames": len(frames),
        "fps": shot.fps,
        "shutter": shot.camera.shutter,
        "readout": shot.camera.readout,
        "expected": asdict(shot.expected),
        "source": "python -m tests.scenes",
        "licence": "CC0 1.0",
    }
    write_json(making / "meta.json", meta)
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)


def truth_of(shot: Shot, frames: list[dict[str, Any]]) -> dict[str, Any]:
    """`truth.json`; the lens of a zoom is the one in the middle, each frame has its own `focal_px`."""
    middle: Lens = shot.camera.lens(len(frames) / 2)
    return {
        "name": shot.name,
        "width": middle.width,
        "height": middle.height,
        "lens": {name: getattr(middle, name) for name in ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")},
        "metric": True,
        "dynamic": frames[0]["mask"] is not None,
        "depth_to_unit": shot.depth_unit,
        "frames": frames,
    }


def _write(path: Path, picture: np.ndarray[Any, Any]) -> None:
    cv2.imencode(".png", picture, (cv2.IMWRITE_PNG_COMPRESSION, 2))[1].tofile(path)
