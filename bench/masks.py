"""How well motion that no camera explains is found: masks against their truth, and what is found where nothing moves.

usage: python bench/masks.py [--work DIR] [--solves DIR] [--pictures DIR] [CLIP ...]

Reads `../shared/data` in place. The cameras of a clip come from the cache of `SOLVES/CLIP.*.solve` where it is there,
else they are solved into `WORK`, where flow and masks go too. `tennis`, whose camera only turns, gets none. IoU,
precision and recall are means over the frames, of the mattes at plate resolution; "work" is the mask on the work grid.
"Found" is the share of the picture that is masked: where nothing moves, all of it is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engine import footage, poses
from engine.clip.track import CameraTrack
from engine.clip.work import WorkClip, work_size
from engine.depth.settings import PRESETS
from engine.flow.stage import solve_flow
from engine.footage import Footage, FrameFiles
from engine.geometry.arrays import Lens
from engine.masks.files import load_dynamic, read_mask
from engine.masks.motion import solve_motion
from engine.masks.plate import PlateMattes
from engine.progress import Silent
from engine.request import LensRequest, MaskRequest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
CLIPS = ("kitchen_apple", "tennis", "kitchen_a", "hololens_table", "fox", "golf", "room")
TURNING = ("tennis",)
COLUMNS = ("clip", "IoU", "precision", "recall", "IoU, work", "found %", "frames", "CPU s/frame")


def prepared(clip: str, work: Path, solves: Path) -> tuple[Footage, WorkClip, Lens]:
    """The footage, its undistorted frames with cameras, and the lens of the plate."""
    shot = footage.probe(ROOT / "sample" / "room.mp4" if clip == "room" else DATA / clip / "frames")
    side = PRESETS["standard"].long_side
    if clip in TURNING:
        turning = turning_clip(shot, side)
        return shot, turning, turning.lens.scaled(shot.width, shot.height)
    cached = sorted(solves.glob(f"{clip}*.solve/cache/poses-*"))
    if cached:
        tracked, proxies = cached[0], next(cached[0].parent.glob("footage-*")) / "proxy"
    else:
        tracked, proxies = work / clip / "poses", work / clip / "proxy"
        if not (tracked / "track.json").is_file():
            footage.prepare(shot, work / clip, Silent())
            poses.solve(shot, proxies, None, tracked, LensRequest(), 0, Silent())
    track = CameraTrack.load(tracked)
    return shot, WorkClip.load(proxies, track, side, Silent()), track.lens


def turning_clip(shot: Footage, long_side: int) -> WorkClip:
    """Frames at the work size without cameras: no sparse points mean that the camera only turns."""
    width, height = work_size(shot.width, shot.height, long_side)
    frames = [np.rint(image * 255).astype(np.uint8) for _, image in footage.read_frames(shot)]
    images = np.stack([cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in frames])
    lens = Lens("SIMPLE_PINHOLE", width, height, width, width, width / 2, height / 2)
    nothing = np.zeros((0, 2)), np.zeros(0)
    poses_of_frames = np.tile(np.eye(4), (len(frames), 1, 1))
    return WorkClip(np.array(shot.numbers), images, lens, poses_of_frames, tuple(nothing for _ in frames))


def bench(clip: str, work: Path, solves: Path, pictures: Path | None) -> str:
    """Measure one clip: a row of the table."""
    shot, small, plate = prepared(clip, work, solves)
    folder, given = work / clip, work / clip / "nothing given"
    solve_flow(small, folder / "flow", Silent())
    start = time.process_time()
    solve_motion(small, plate, folder / "flow", given, MaskRequest(), folder, Silent())
    cost = (time.process_time() - start) / len(small.numbers)
    mattes = PlateMattes(folder, given, None, plate, small.lens)
    figures, coarse, shares = [], [], []
    for number, image in footage.read_frames(shot, [int(n) for n in small.numbers]):
        matte = mattes.matte(number, image) > 127
        shares.append(matte.mean())
        truth = true_mask(clip, number)
        if truth is not None:
            both = (matte & truth).sum()
            figures.append((both / (matte | truth).sum(), both / max(matte.sum(), 1), both / max(truth.sum(), 1)))
            rough = cv2.resize(
                load_dynamic(folder, number, small.images.shape[1:3]).astype(np.float32), truth.shape[::-1]
            )
            coarse.append(((rough > 0.5) & truth).sum() / ((rough > 0.5) | truth).sum())
        if pictures is not None:
            image[matte] = 0.4 * image[matte] + np.array([0.6, 0.0, 0.6], np.float32)
            (pictures / clip).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(FrameFiles(pictures / clip, ".png").path(number)), np.rint(image[..., ::-1] * 255))
    scores = [f"{value:.3f}" for value in np.mean(figures, axis=0)] if figures else ["-"] * 3
    scores.append(f"{np.mean(coarse):.3f}" if coarse else "-")
    return f"| {clip} | {' | '.join(scores)} | {100 * np.mean(shares):.3f} | {len(shares)} | {cost:.2f} |"


def true_mask(clip: str, number: int) -> NDArray[np.bool_] | None:
    """The true mask (H, W) of a frame of the plate; None where the clip has none."""
    paths = [path for path in (DATA / clip / "mask").glob("*.png") if int(path.stem) == number]
    return read_mask(paths[0]) > 127 if paths else None


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", default=CLIPS)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench" / "masks")
    parser.add_argument("--solves", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--pictures", type=Path, help="write the frames with what was found in purple")
    options = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"{DATA} is absent: nothing to measure.")
    print(f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", sep="\n")
    for clip in options.clips:
        print(bench(clip, options.work, options.solves, options.pictures), flush=True)


if __name__ == "__main__":
    main()
