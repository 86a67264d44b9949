"""What moves by itself, found without any weights: what no camera explains.

1. Where the flow to several neighbours is not what one still point would give (`still`), there are seeds.
2. Seeds that are specks, that look as well where a still point would be, or that no neighbouring frame confirms are
   errors of the flow and are dropped: on a clip in which nothing moves nothing must be found.
3. Around what is left the still scene behind is taken from frames that show it (a clean plate, the median of frames
   warped to this one); where the picture differs from it is what moves, with the picture's own edges.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.clip.work import WorkClip
from engine.files import write_atomically, write_json
from engine.flow.dense import Mask, sample_at
from engine.footage import FrameFiles
from engine.geometry.arrays import Lens
from engine.masks.files import load_given
from engine.masks.outline import outlined
from engine.masks.still import Still, View, half_grey, still_world
from engine.progress import Progress
from engine.request import MaskRequest

MIN_DISTANCE = 1.0  # pixels of the half grid: less is noise of the flow at depth edges
NOISE_FACTOR = 8.0  # times the pair's own noise; its tails are heavy
MIN_GAIN = 3.0  # grey levels of 255 by which the flow's end must look better than the still point's place
GAIN_WINDOW = 5
MOST_GAIN = 20.0
MIN_SPECK = 0.001  # of the frame: smaller islands are dropped
MIN_CONFIRMED = 0.3  # of an island that must land on islands of the next frame for it to go on there
MIN_LIFE = 4  # frames

Array = NDArray[np.float32]
_Ends = dict[int, tuple[NDArray[np.intp], Array]]


def solve_motion(
    clip: WorkClip, plate: Lens, flow: Path, given: Path, request: MaskRequest, folder: Path, progress: Progress
) -> None:
    """Write what moves by itself: `dynamic/000101.png` of every frame; no file at all when nothing moves.

    8 bit, 255 = moves, on the undistorted work grid (H, W). `motion.json` is last: {"share": mean share of the frame}.

    Args:
        clip: undistorted frames with cameras. Without sparse points the camera is taken to turn only.
        plate: lens of the plate, for the masks in `given`.
        flow: folder of the flow stage.
        given: folder of the masks stage, `000101.png` on the distorted plate at any size; frames may be absent.
        request: whether motion is to be looked for.
        folder: written to.
        progress: receives progress; may cancel.

    Raises:
        Cancelled: the user stopped it.
    """
    target = folder / "dynamic"
    target.mkdir(parents=True, exist_ok=True)
    height, width = clip.images.shape[1:3]
    found = find_motion(still_world(clip, flow), clip, progress) if request.motion else {}
    masks = []
    for row, number in enumerate(clip.numbers):
        mask = load_given(given, int(number), plate.scaled(width, height))
        masks.append(mask | found[row] if row in found else mask)
    share = float(np.mean([mask.mean() for mask in masks]))
    if share > 0:
        for mask, number in zip(masks, clip.numbers, strict=True):
            data = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1]
            write_atomically(FrameFiles(target, ".png").path(int(number)), data.tofile)
    progress.metric("dynamic_share", share)
    write_json(folder / "motion.json", {"share": share})


def find_motion(still: Still, clip: WorkClip, progress: Progress) -> dict[int, Mask]:
    """Row of the clip -> what moves in it (H, W), work grid; rows in which nothing moves are left out."""
    count = len(clip.numbers)
    islands: list[Mask] = []
    onward: list[_Ends] = []
    for row in range(count):
        progress.step(row, 2 * count, f"looking for motion in frame {clip.numbers[row]}")
        views = still.views(row)
        found = _islands(half_grey(clip.images[row]), views)
        islands.append(found)
        onward.append(_ends(found, [view for view in views if abs(view.other - row) == 1]))
    confirmed = _confirmed(islands, onward)
    masks = {}
    for row in range(count):
        progress.step(count + row, 2 * count, f"outlining what moves in frame {clip.numbers[row]}")
        if confirmed[row].any():
            masks[row] = outlined(row, clip, still, confirmed)
    return masks


def _islands(grey: NDArray[np.uint8], views: list[View]) -> Mask:
    """Islands (h, w) where the flow to most of the neighbours is not that of a still point."""
    asked = np.zeros(grey.shape, np.float32)
    against, gain, gained = asked.copy(), asked.copy(), asked.copy()
    for view in views:
        distance = view.distance()
        limit = max(MIN_DISTANCE, NOISE_FACTOR * 1.4826 * float(np.median(distance[view.believed])))
        # Half a vote at the limit, a full one at one and a half times it.
        against += view.believed * np.clip((distance - limit) / limit + 0.5, 0.0, 1.0)
        asked += view.believed
        off = view.believed & (distance > limit)
        gain += off * _gain(grey, view)
        gained += off
    moving = (against > 0.5 * asked) & (asked > 0)
    labels = cv2.connectedComponents(moving.astype(np.uint8), connectivity=8)[1].reshape(-1)
    large = np.bincount(labels) >= MIN_SPECK * grey.size
    # A plain wall looks the same wherever the flow drifts; a thing that moves does not.
    looks_better = np.bincount(labels, gain.reshape(-1)) > MIN_GAIN * np.bincount(labels, gained.reshape(-1))
    return np.asarray(moving & (large & looks_better)[labels].reshape(grey.shape))


def _gain(grey: NDArray[np.uint8], view: View) -> Array:
    """How much more alike the other frame is where the flow ends than where a still point would be, grey levels."""
    other = view.grey.astype(np.float32)
    change = sample_at(other, view.seen) - grey
    exposure = float(np.median(change[view.believed]))
    moved, still = (
        cv2.boxFilter(np.abs(difference - exposure), -1, (GAIN_WINDOW, GAIN_WINDOW))
        for difference in (change, sample_at(other, view.still) - grey)
    )
    return np.asarray(np.clip(still - moved, -MOST_GAIN, MOST_GAIN), np.float32)


def _ends(island: Mask, views: list[View]) -> _Ends:
    """For each view: the island's believed pixels (flat indices), and where they are seen there (n, 2)."""
    ends = {}
    for view in views:
        pixels = np.flatnonzero(island & view.believed)
        ends[view.other] = pixels, view.seen.reshape(-1, 2)[pixels]
    return ends


def _confirmed(islands: list[Mask], onward: list[_Ends]) -> list[Mask]:
    """The islands that go on through at least `MIN_LIFE` frames: what moves goes on moving, errors of flow flicker.

    Args:
        islands: (h, w) of each frame.
        onward: for each frame, see `_ends`, of the frame before and the frame after.
    """
    labels = [cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1] for mask in islands]
    life = [np.zeros(int(frame.max()) + 1, int) for frame in labels]
    for step in (-1, 1):
        # The islands of the frame before (or after) are done; each counts one more than what it goes on in.
        reached: dict[int, NDArray[np.int64]] = {}
        for row in range(len(islands))[::-step]:
            ahead = np.ones(len(life[row]), np.int64)
            if row + step in reached and row + step in onward[row]:
                pixels, seen = onward[row][row + step]
                height, width = islands[row].shape
                at = np.clip(seen.astype(int), 0, (width - 1, height - 1))
                mine, theirs = labels[row].reshape(-1)[pixels], labels[row + step][at[:, 1], at[:, 0]]
                for label in np.unique(mine):
                    met = theirs[mine == label]
                    if (met > 0).mean() >= MIN_CONFIRMED:
                        ahead[label] += reached[row + step][met[met > 0]].max()
            reached[row] = ahead
        for row, ahead in reached.items():
            life[row] += ahead
    needed = min(MIN_LIFE, len(islands))
    kept = []
    for frame, total in zip(labels, life, strict=True):
        lasting = total - 1 >= needed  # the frame itself was counted on both sides
        lasting[0] = False
        kept.append(np.asarray(lasting[frame]))
    return kept
