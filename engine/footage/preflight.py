"""The first pass over a clip: small working copies of its frames, and whether it can be solved at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import FootageError
from engine.files import write_atomically, write_json
from engine.footage.clip import Footage, FrameFiles, read_frames
from engine.footage.decode import Image
from engine.progress import Progress

PROXY_LONG_SIDE = 1280
_MOTION_LONG_SIDE = 640
_MOTION_SAMPLES = 25
_DUPLICATE = 0.25
"""Mean absolute difference of 8-bit grey below which two neighbours count as one picture."""
_CUT, _CUT_RATIO, _CUT_FOLLOWED = 0.08, 1.5, 0.3
"""Change of neighbours, see `_change`, that a cut has at least; the same over that of all frames around it; and the
share of corners that can be followed across it at most."""
_STATIC_PX = 0.5
"""Pixels, at `_MOTION_LONG_SIDE`: what noise and compression alone make of a tripod shot stays below."""

Grey = NDArray[np.uint8]


def prepare(footage: Footage, folder: Path, progress: Progress) -> None:
    """Write `folder/proxy/<frame>.png` (8-bit sRGB, long side at most 1280) and `folder/preflight.json`.

    The right eye of a stereo clip goes to `folder/proxy_right/<frame>.png`; the checks look at the left one only.
    Streams the frames once for each eye. Proxies that are there already, from a pass that was interrupted, are kept.

    Raises:
        FootageError: `footage.too_few_frames`, `.black`, or what `read_frames` raises.
        OSError: the folder cannot be written.
    """
    numbers = footage.numbers
    if len(numbers) < 3:
        raise FootageError(
            "footage.too_few_frames",
            f"The footage has {len(numbers)} frame{'s' if len(numbers) > 1 else ''} in the range asked for.",
            "Depth comes from how things shift between frames; three are the least, twenty or more are good.",
            "Choose a longer range or a smaller step.",
        )
    for eye in (footage, footage.right):
        if eye is not None and eye.cut_short is not None:
            progress.warning(
                f"{eye.path.name} says that it has {eye.cut_short} frames, and only {numbers[-1]} can be decoded: it "
                "is cut short or damaged, or its sound is longer than its picture. What can be decoded is solved."
            )
        for remark in eye.remarks if eye is not None else ():
            progress.warning(remark)
    apart = math.gcd(*np.diff(numbers).tolist())
    if footage.missing and apart > 1:
        progress.warning(
            f"The frame numbers are {apart} apart, so {len(footage.missing)} frames between them get no camera. Set "
            f"the step to {apart} to leave these out."
        )
    total = len(numbers) * (1 if footage.right is None else 2)
    sampled = set(np.linspace(0, len(numbers) - 1, min(_MOTION_SAMPLES, len(numbers))).astype(int).tolist())
    frames = []
    samples: list[Grey] = []
    before: Grey | None = None
    darkest, spread = 255.0, 0.0
    for index, (number, proxy) in enumerate(_proxies(footage, folder / "proxy")):
        grey = _motion_grey(proxy)
        difference = None if before is None else float(cv2.absdiff(grey, before).mean())
        change, followed = _change(before, grey) if before is not None else (None, None)
        frames.append(
            {
                "frame": number,
                "mean_luma": float(grey.mean()) / 255.0,
                "sharpness": float(cv2.Laplacian(grey, cv2.CV_32F).var()),
                "difference": None if difference is None else difference / 255.0,
                "change": change,
                "followed": followed,
                "duplicate": difference is not None and difference < _DUPLICATE,
            }
        )
        low, high = np.percentile(grey, (1, 99))
        darkest, spread = min(darkest, 255.0 - float(high)), max(spread, float(high - low))
        if index in sampled:
            samples.append(grey)
        before = grey
        progress.step(index + 1, total, f"reading frame {number}")
    if 255.0 - darkest < 5 or spread < 4:
        raise FootageError(
            "footage.black",
            "Every frame is black or a single flat colour.",
            "The picture has no contents to follow: a lens cap, an empty render layer, or a wrong channel or exposure.",
            "Choose the footage with the picture in it; scene-linear files must be marked as linear.",
        )
    motion = [_motion(a, b) for a, b in pairwise(samples)] + [_motion(samples[0], b) for b in samples[2::4]]
    moved = [m for m in motion if m is not None]
    cuts = _cuts(frames)
    if cuts:
        progress.warning(f"There seems to be a cut before {_listed(cuts)}: only the longest part can be solved.", cuts)
    if footage.right is not None:
        if footage.half is not None and footage.width < footage.height:
            progress.warning(
                f"Each eye is {footage.width}x{footage.height}, taller than wide. If the pair was squeezed to fit side "
                "by side, widen it to full width first: its lens cannot be solved as it is."
            )
        for index, (number, _) in enumerate(_proxies(footage.right, folder / "proxy_right")):
            progress.step(len(numbers) + index + 1, total, f"reading frame {number} of the right eye")
    parallax = [share for _, share in moved if share is not None]
    write_json(
        folder / "preflight.json",
        {
            "frames": frames,
            "duplicates": [f["frame"] for f in frames if f["duplicate"]],
            "cuts": cuts,
            "static": bool(moved) and max(displacement for displacement, _ in moved) < _STATIC_PX,
            "motion_px": float(np.median([d for d, _ in moved])) if moved else None,
            "parallax_share": float(np.median(parallax)) if parallax else None,
        },
    )


def _change(a: Grey, b: Grey) -> tuple[float, float | None]:
    """How much a picture changes.

    Returns:
        (mean absolute difference, of white, of both with one exposure and contrast, since a lamp that is switched on is
        no cut; share of corners that are followed from `a` to `b`, None where the difference is below `_CUT` anyway).
    """
    (x, dark), (y, light) = ((p.astype(np.float32) - p.mean(), float(p.std()) + 1.0) for p in (a, b))
    change = float(np.abs(x / dark - y / light).mean()) * (dark + light) / 2.0 / 255.0
    if change < _CUT:
        return change, None
    corners, found, _ = _followed(a, b)
    return change, len(found) / max(1, corners)


def _cuts(frames: list[dict[str, Any]]) -> list[int]:
    """Frame numbers before which the picture changes at once: more than around them, and nothing can be followed.

    Where frames are missing in between, much may change in one shot.
    """
    steps = np.diff([frame["frame"] for frame in frames], prepend=frames[0]["frame"])
    usual = float(np.median(steps[1:]))
    change = np.array([frame["change"] or 0.0 for frame in frames])
    cuts = []
    for index in range(2, len(change) - 1):
        around = np.delete(change[max(1, index - 5) : index + 6], min(index - 1, 5))
        followed = frames[index]["followed"]
        if steps[index] > usual:
            continue
        if followed is not None and followed < _CUT_FOLLOWED and change[index] > _CUT_RATIO * float(around.max()):
            cuts.append(int(frames[index]["frame"]))
    return cuts


def _listed(numbers: list[int]) -> str:
    return f"frame{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _proxies(footage: Footage, folder: Path) -> Iterator[tuple[int, Grey]]:
    """(frame number, BGR proxy) of every frame in order; those missing in `folder` are made."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = _limited(footage.width, footage.height, PROXY_LONG_SIDE)
    paths = {n: FrameFiles(folder, ".png").path(n) for n in footage.numbers}
    absent = [n for n in footage.numbers if not paths[n].exists()]
    fresh = read_frames(footage, absent) if absent else iter(())
    for number, path in paths.items():
        if number not in absent:
            kept = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
            if kept is not None and kept.shape == (height, width, 3):
                yield number, np.asarray(kept, np.uint8)
                continue
        frame = next(fresh if number in absent else read_frames(footage, [number]))[1]
        proxy = _proxy(frame, (width, height))
        png = cv2.imencode(".png", proxy, (cv2.IMWRITE_PNG_COMPRESSION, 1))[1]
        write_atomically(path, png.tofile)
        yield number, proxy


def _proxy(frame: Image, size: tuple[int, int]) -> Grey:
    if size != (frame.shape[1], frame.shape[0]):
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    proxy: Grey = np.ascontiguousarray((frame[..., ::-1] * 255.0 + 0.5).astype(np.uint8))
    return proxy


def _limited(width: int, height: int, long_side: int) -> tuple[int, int]:
    scale = min(1.0, long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _motion_grey(proxy: Grey) -> Grey:
    grey = cv2.cvtColor(proxy, cv2.COLOR_BGR2GRAY)
    size = _limited(grey.shape[1], grey.shape[0], _MOTION_LONG_SIDE)
    small: Grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return small


def _followed(a: Grey, b: Grey) -> tuple[int, NDArray[np.float32], NDArray[np.float32]]:
    """How many corners there are in `a`, and those found in `b` and back again: their places (n, 2) in either."""
    corners = cv2.goodFeaturesToTrack(a, 400, 0.01, 8)
    if corners is None or len(corners) < 8:
        return 0, np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    there, found, _ = cv2.calcOpticalFlowPyrLK(a, b, corners, None, winSize=(21, 21), maxLevel=4)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(b, a, there, None, winSize=(21, 21), maxLevel=4)
    same = (found.ravel() == 1) & (returned.ravel() == 1) & (np.linalg.norm(corners - back, axis=-1).ravel() < 1.0)
    return len(corners), corners[same, 0], there[same, 0]


def _motion(a: Grey, b: Grey) -> tuple[float, float | None] | None:
    """How the picture moves from `a` to `b`; None where there is nothing to follow.

    Returns:
        (median displacement of tracked corners in px, share of the corners that follow the epipolar geometry but no
        single homography: near zero for a turning camera or a flat scene; None when too few can be followed).
    """
    corners, x, y = _followed(a, b)
    if corners < 8:
        return None
    if len(x) < 8:
        # Nothing of the one picture is found in the other: that is motion, whatever else it is.
        return float(max(a.shape)), None
    displacement = float(np.median(np.linalg.norm(y - x, axis=1)))
    if len(x) < 40:
        return displacement, None
    _, epipolar = cv2.findFundamentalMat(x, y, cv2.USAC_MAGSAC, 1.0, 0.99, 500)
    _, flat = cv2.findHomography(x, y, cv2.USAC_MAGSAC, 1.0, maxIters=500, confidence=0.99)
    if epipolar is None or flat is None or not epipolar.any():
        return displacement, None
    return displacement, float(((epipolar.ravel() == 1) & (flat.ravel() == 0)).sum() / epipolar.sum())
