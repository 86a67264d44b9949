"""The export stage: depth and confidence at plate resolution, points, depth video, quality, report, `solve.json`."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycolmap
import torch
from numpy.typing import NDArray

import engine
from engine import files, footage
from engine.clip import pictures
from engine.clip.depth_map import DepthFrames
from engine.clip.plate_grid import PlateGrid, upsample_depth
from engine.clip.track import CameraTrack
from engine.depth.regions import Regions
from engine.evaluation.stability import track_stability
from engine.export import ply, report
from engine.export.doubt import Doubt, camera_sentence, find_doubt
from engine.export.edges import EdgeSharpener
from engine.export.fused_file import write_fused
from engine.export.reuse import FrameKeys
from engine.footage import Footage
from engine.geometry.arrays import array_from_pixel
from engine.parallel import each
from engine.progress import Part, Progress
from engine.request import Request
from engine.solve_folder import CLEARED, KEY, RESULTS, UNFINISHED, refuse_foreign_files

HALF = 0.5
MOVING = 128  # of 255: a matte this bright counts as moving
SCHEMA = "cvd.solve/1"
PICTURE_SIDE = 480
AT_ONCE = 4  # plate frames side by side: each takes about 0.2 GB at 1080p, and more with more pixels
YELLOW, FRAME_WIDTH = (0, 220, 255), 0.008  # BGR, and share of the picture's width
WRITING = 0.8  # share of the stage, the fused mesh takes the rest


@dataclass(frozen=True)
class DepthResult:
    """What the depth stage left in its folder, on the work grid.

    Attributes:
        frames: depth and confidence; the folder holds `consistency.json` as well.
        method: such as "cvd".
        prior: name of the network or of what stood in for one.
        licence: of the network's weights.
        metric: cameras and depth are in metres.
        scales: folder of the scale stage, which holds `scale.json`.
    """

    frames: DepthFrames
    method: str
    prior: str
    licence: str
    metric: bool
    scales: Path

    def consistency(self) -> dict[int, float]:
        """Plate frame number -> median flow-reprojection distance over the frame's pairs, work pixels."""
        return {int(frame): error for frame, error in self._consistency("frames").items()}

    def consistency_by_distance(self) -> dict[int, float]:
        """Distance in frames -> median flow-reprojection distance over the pairs that far apart, work pixels."""
        return {int(distance): error for distance, error in self._consistency("distance").items()}

    def scale_per_frame(self) -> dict[int, float]:
        """Plate frame number -> prior depth / sparse depth of that frame alone (CVD eq. 1)."""
        text = (self.scales / "scale.json").read_text(encoding="utf-8")
        return {int(frame): scale for frame, scale in json.loads(text)["per_frame"].items()}

    def doubt(self) -> Doubt:
        """Which frames have doubtful depth, and where."""
        return find_doubt(Regions.read(self._consistency("regions")), self.frames.lens.width)

    def _consistency(self, part: str) -> dict[str, Any]:
        document = json.loads((self.frames.folder / "consistency.json").read_text(encoding="utf-8"))
        return dict(document.get(part, {}))


@dataclass(frozen=True)
class Account:
    """How the solve was made, for the `engine` part of `solve.json`; `stages` tells what each has cost so far."""

    device: str
    solve_key: str
    stages: Callable[[], dict[str, dict[str, float]]]
    warnings: Sequence[str]


Mattes = Callable[[int, NDArray[np.float32]], NDArray[np.uint8] | None]


@dataclass(frozen=True)
class FrameShares:
    """What decided the pixels of one frame, 0..1 of the plate.

    Attributes:
        confident: geometry rather than the network.
        prior_only: nothing but the network.
        dynamic: moves by itself.
    """

    confident: float
    prior_only: float
    dynamic: float


def export(
    root: Path,
    request: Request,
    clip: Footage,
    track: CameraTrack,
    sharpener: EdgeSharpener,
    result: DepthResult,
    account: Account,
    progress: Progress,
    mattes: Mattes | None = None,
    keys: FrameKeys | None = None,
) -> None:
    """Write everything that readers of the solve folder use, and put it in the place of an earlier solve's.

    It is made beside the earlier result, which stays whole until then. Frames already written for this very solve are
    kept, so a killed export goes on where it stopped.

    Args:
        root: the solve folder.
        request: what was asked.
        clip: the footage.
        track: cameras and points in the units of the depth.
        sharpener: brings the depth's edges onto the pictures' edges.
        result: depth on the work grid.
        account: costs, warnings, device.
        progress: receives progress; may cancel.
        mattes: gives the matte (H, W), 255 = moves by itself, of a plate frame number and its picture (H, W, 3), RGB in
            [0, 1]; None for a frame that gets no matte. None: nothing moves.
        keys: find the frames of the earlier result that are the same; None: all are written anew.

    Raises:
        WorkspaceError: `workspace.foreign_files`: something else has been put among the results.
        OSError: the disk is full or the folder cannot be written.
    """
    refuse_foreign_files(root)  # which may have come since the solve began
    if _published(root / UNFINISHED, root, account.solve_key):
        shutil.rmtree(root / UNFINISHED)
        return
    made = _begin(root / UNFINISHED, account.solve_key)
    if (made / "solve.json").is_file():  # complete; killed while it was put in its place
        publish(made, root)
        return
    if keys is not None:
        keys.take_over(root, made)
    near, far = depth_range(result, track.frames())
    doubt = result.doubt()
    shares, shown = _write_frames(
        made, clip, track, sharpener, result, doubt, mattes, (near, far), Part(progress, 0.0, WRITING)
    )
    ply.write_points(made / "points.ply", track.points)
    to_plate = track.lens.width / result.frames.lens.width
    consistency = {frame: error * to_plate for frame, error in result.consistency().items()}
    by_distance = {gap: error * to_plate for gap, error in result.consistency_by_distance().items()}
    quality = _quality(clip, track, result, doubt, consistency, shares, account.warnings)
    quality["consistency_by_distance_px"] = {str(gap): by_distance[gap] for gap in sorted(by_distance)}
    solve = _solve_document(
        made, request, clip, track, result, doubt, account, consistency, shares, quality, (near, far)
    )
    fused = Part(progress, WRITING, 1.0)
    solve["fused"] = write_fused(made, solve, clip, lambda done, total: fused.step(done, total, "the fused mesh"))
    report.write_report(made / "report.html", root.name, solve, shown, result.scale_per_frame())
    if keys is not None:
        keys.save(made)
    files.write_json(made / "solve.json", solve)
    publish(made, root)


def _published(made: Path, root: Path, solve_key: str) -> bool:
    """All is in its place already, and whoever put it there was killed while tidying up."""
    if not (made / CLEARED).is_file() or (made / "solve.json").is_file() or not (root / "solve.json").is_file():
        return False
    solved = json.loads((root / "solve.json").read_text(encoding="utf-8"))
    return bool(solved["engine"]["solve_key"] == solve_key)


def _begin(made: Path, solve_key: str) -> Path:
    """The folder that the result is made in: what a killed export of this very solve left, or empty.

    On the solve folder's own disk, which the cache need not be: what lies there takes its place by a rename.
    """
    mark = made / KEY
    if not (mark.is_file() and mark.read_text(encoding="utf-8") == solve_key):
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        files.write_text(mark, solve_key)
    return made


def publish(made: Path, root: Path) -> None:
    """Move a complete result from the folder it was `made` in to where readers look, in the place of an earlier one.

    `solve.json` is the first to go and the last to come. Called again after a kill at any instant, it goes on.
    """
    cleared = made / CLEARED
    if not cleared.is_file():
        refuse_foreign_files(root)
        (root / "solve.json").unlink(missing_ok=True)
        for name in RESULTS:
            if (root / name).is_dir() and not (root / name).is_symlink():
                shutil.rmtree(root / name)
            else:
                (root / name).unlink(missing_ok=True)
        files.write_text(cleared, "")
    for name in RESULTS:
        if (made / name).exists():
            (made / name).replace(root / name)
    (made / "solve.json").replace(root / "solve.json")
    shutil.rmtree(made)


def depth_range(result: DepthResult, frames: Sequence[int]) -> tuple[float, float]:
    """1st and 99th percentile of the depth over the clip, scene units."""
    samples = []
    for frame in frames:
        depth = result.frames.load(frame)
        samples.append(depth.values[depth.known][::17])
    near, far = np.percentile(np.concatenate(samples), [1, 99])
    return float(near), float(far)


@dataclass(frozen=True)
class Written:
    """What is left of a frame once its files are written.

    Attributes:
        shares: what decided its pixels.
        depth: coloured, of the size of the depth video.
        panels: plate, coloured depth and confidence, each a third of the side-by-side video.
        thumbnails: for the report, where it shows this frame.
    """

    shares: FrameShares
    depth: pictures.Image
    panels: list[pictures.Image]
    thumbnails: report.Thumbnails | None


def _write_frames(
    root: Path,
    clip: Footage,
    track: CameraTrack,
    sharpener: EdgeSharpener,
    result: DepthResult,
    doubt: Doubt,
    mattes: Mattes | None,
    span: tuple[float, float],
    progress: Progress,
) -> tuple[dict[int, FrameShares], report.Pictures]:
    for name in ("depth", "confidence", "measured"):
        (root / name).mkdir(exist_ok=True)
    fine, coarse = PlateGrid(track.lens, sharpener.lens), PlateGrid(track.lens, result.frames.lens)
    frames = track.frames()
    worst = set(report.frames_to_show(frames, result.consistency(), [run.worst for run in doubt.runs]))
    blank = np.zeros((clip.height, clip.width), np.uint8)
    height, width = pictures.shrink(blank, pictures.VIDEO_LONG_SIDE, even=True).shape
    panel_height, panel_width = pictures.shrink(blank, pictures.VIDEO_LONG_SIDE // 2, even=True).shape

    def written(item: tuple[int, NDArray[np.float32]]) -> Written:
        frame, image = item
        name = footage.frame_name(frame, ".exr")
        confidence = np.clip(coarse.enlarge(result.frames.confidence(frame)), 0.0, 1.0)
        measured = coarse.enlarge(result.frames.measured(frame).astype(np.float32)) >= HALF
        if all(
            (root / written).is_file() for written in (f"depth/{name}", f"confidence/{name}", _measured_name(frame))
        ):
            depth = files.read_exr(root / "depth" / name)
        else:
            depth = upsample_depth(sharpener.sharpen(frame), image, fine)
            files.write_exr(root / "depth" / name, depth)
            files.write_exr(root / "confidence" / name, confidence.astype(np.float16))
            _write_png(root / _measured_name(frame), measured.astype(np.uint8) * np.uint8(255))
        matte = None if mattes is None else _matte(root, frame, image, mattes)
        moving = np.zeros(depth.shape, bool) if matte is None else matte >= MOVING
        plate = np.rint(image[..., ::-1] * 255.0).astype(np.uint8)
        coloured = pictures.colour_depth(depth, *span)
        grey = cv2.cvtColor(np.rint(confidence * 255.0).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        shown = [plate, coloured, grey]
        for_report = None
        if frame in worst:
            marked = pictures.tinted(pictures.tinted(plate, ~measured & ~moving, pictures.BLUE), moving, pictures.RED)
            for region in doubt.frames.get(frame, ()):
                _frame_region(marked, region.mask)
            small = [pictures.shrink(picture, PICTURE_SIDE) for picture in (*shown, marked)]
            for_report = report.Thumbnails(*(pictures.data_uri(picture) for picture in small))
        return Written(
            FrameShares(float(measured.mean()), float((~measured).mean()), float(moving.mean())),
            pictures.resize(coloured, width, height),
            [pictures.resize(picture, panel_width, panel_height) for picture in shown],
            for_report,
        )

    shares: dict[int, FrameShares] = {}
    thumbnails: dict[int, report.Thumbnails] = {}
    clip_of_depth = pictures.Animation(len(frames), clip.fps)
    with (
        pictures.video_writer(root / "depth.mp4", width, height, Fraction(*clip.fps)) as video,
        pictures.video_writer(root / "side_by_side.mp4", 3 * panel_width, panel_height, Fraction(*clip.fps)) as sides,
    ):
        for done, ((frame, _), made) in enumerate(each(written, footage.read_frames(clip, frames), most=AT_ONCE)):
            shares[frame] = made.shares
            if made.thumbnails is not None:
                thumbnails[frame] = made.thumbnails
            video.write(made.depth)
            sides.write(np.hstack(made.panels))
            clip_of_depth.add(done, made.panels[:2])
            progress.step(done + 1, len(frames), f"{done + 1} of {len(frames)} frames")
    return shares, report.Pictures(thumbnails, clip_of_depth.data_uri())


def _frame_region(picture: pictures.Image, mask: NDArray[np.bool_]) -> None:
    """Draw a frame around a part (rows, columns) of the picture (H, W, 3)."""
    height, width = picture.shape[:2]
    part = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, outlines, -1, YELLOW, max(2, round(FRAME_WIDTH * width)))


def _matte(root: Path, frame: int, image: NDArray[np.float32], mattes: Mattes) -> NDArray[np.uint8] | None:
    path = root / _matte_name(frame)
    if path.is_file():
        stored = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if stored is not None:
            return np.asarray(stored, np.uint8)
    matte = mattes(frame, image)
    if matte is None:
        return None
    path.parent.mkdir(exist_ok=True)
    _write_png(path, matte)
    return matte


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    _, encoded = cv2.imencode(".png", picture)
    files.write_atomically(path, lambda temporary: temporary.write_bytes(encoded.tobytes()))


def _measured_name(frame: int) -> str:
    return f"measured/{footage.frame_name(frame)}.png"


def _matte_name(frame: int) -> str:
    return f"dynamic/{footage.frame_name(frame)}.png"


def _quality(
    clip: Footage,
    track: CameraTrack,
    result: DepthResult,
    doubt: Doubt,
    consistency: dict[int, float],
    shares: dict[int, FrameShares],
    warnings: Sequence[str],
) -> dict[str, Any]:
    def depth_at(frame: int, rays: NDArray[np.float64]) -> NDArray[np.floating]:
        lens = result.frames.lens
        pixels = np.stack([rays[:, 0] * lens.fx + lens.cx, rays[:, 1] * lens.fy + lens.cy], axis=1)
        at = array_from_pixel(pixels).astype(np.float32)[None]
        sampled = cv2.remap(result.frames.load(frame).values, at, None, cv2.INTER_NEAREST, borderValue=0)
        return np.asarray(sampled[0], np.float32)

    registered = len(track.frames()) / len(clip.numbers)
    figures: dict[str, Any] = {
        "registered_share": registered,
        "reprojection_px": float(np.median(list(track.reprojection_px.values()))) if track.reprojection_px else None,
        "consistency_px": float(np.median(list(consistency.values()))) if consistency else None,
        "confident_share": float(np.mean([share.confident for share in shares.values()])),
        "prior_only_share": float(np.mean([share.prior_only for share in shares.values()])),
        "dynamic_share": float(np.mean([share.dynamic for share in shares.values()])),
        "expected_share": float(np.mean(list(doubt.right.values()))) if doubt.right else None,
        "instability_pct": None,
        "drift_pct": None,
        **(track_stability(track, depth_at) if track.measurable else {}),
    }
    return {
        "verdict": verdict(figures, warnings, track.motion, doubt),
        "motion": track.motion,
        "doubtful": [run.document() for run in doubt.runs],
        "warnings": [*warnings, *doubt.warnings()],
        **figures,
    }


def verdict(
    figures: dict[str, Any], warnings: Sequence[str], motion: str = "travels", doubt: Doubt | None = None
) -> str:
    """A few sentences for the artist; `motion`: see `CameraTrack`."""
    share = figures["registered_share"]
    placed = "All frames have a camera" if share == 1.0 else f"{share:.0%} of the frames have a camera"
    sure = f"depth was measured on {figures['confident_share']:.0%} of the picture and guessed on the rest"
    doubts = [*camera_sentence(warnings), *(doubt.sentences() if doubt is not None else [])]
    state = "Solved with warnings" if warnings or doubts else "Solved"
    moving = f"; {figures['dynamic_share']:.0%} of it moves by itself" if figures["dynamic_share"] >= 0.005 else ""
    error = figures["reprojection_px"]
    exact = "" if error is None else f" (reprojection {error:.2f} px)"
    if motion != "travels":
        seen = "only turns" if motion == "turns" else "does not move"
        return f"{state}. {placed}{exact}; it {seen}, so that the network guessed all depth: nothing measures it."
    return " ".join([f"{state}. {placed}{exact}; {sure}{moving}.", *doubts])


def _solve_document(
    root: Path,
    request: Request,
    clip: Footage,
    track: CameraTrack,
    result: DepthResult,
    doubt: Doubt,
    account: Account,
    consistency: dict[int, float],
    shares: dict[int, FrameShares],
    quality: dict[str, Any],
    span: tuple[float, float],
) -> dict[str, Any]:
    lens = track.lens
    return {
        "schema": SCHEMA,
        "source": {
            "path": str(clip.path),
            "kind": clip.kind,
            "stereo": clip.stereo,
            "pattern": clip.pattern,
            "width": clip.width,
            "height": clip.height,
            "fps": list(clip.fps),
            "first": clip.numbers[0],
            "last": clip.numbers[-1],
            "colourspace": clip.colourspace,
            "content_id": clip.content_id,
        },
        "lens": {
            **{name: getattr(lens, name) for name in ("model", "fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")},
            "focal_varies": bool(track.focals),
            "focal_range_px": list(track.focal_range) if track.focal_range is not None else None,
            "source": "known" if track.lens_known else "estimated",
            "origin": track.lens_origin,
            "uncertainty_pct": track.focal_std_pct,
        },
        "frames": [
            _frame_entry(root, frame, clip, track, consistency, shares) | _doubt_entry(frame, doubt)
            for frame in sorted({*clip.numbers, *clip.missing})
        ],
        "world": {
            "up": "estimated" if track.up_estimated else "assumed",
            "scale": "metric" if result.metric else "arbitrary",
            "unit": "metre" if result.metric else "scene unit",
        },
        "depth": {
            "method": result.method,
            "prior": result.prior,
            "licence": result.licence,
            "width": clip.width,
            "height": clip.height,
            "work_width": result.frames.lens.width,
            "work_height": result.frames.lens.height,
            "planar": True,
            "near": span[0],
            "far": span[1],
        },
        "points": "points.ply",
        "quality": quality,
        "engine": {
            "versions": {
                "engine": engine.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "pycolmap": pycolmap.__version__,
                "opencv": cv2.__version__,
                "numpy": np.__version__,
            },
            "device": account.device,
            "seed": request.seed,
            "preset": request.preset,
            "solve_key": account.solve_key,
            "stages": account.stages(),
        },
    }


def _frame_entry(
    root: Path,
    frame: int,
    clip: Footage,
    track: CameraTrack,
    consistency: dict[int, float],
    shares: dict[int, FrameShares],
) -> dict[str, Any]:
    pose = track.world_from_camera.get(frame)
    filled = track.filled.get(frame)
    name = footage.frame_name(frame, ".exr")
    if frame in clip.missing:
        reason: str | None = "The sequence has no picture with this number."
    else:
        reason = None if pose is not None else track.reasons.get(frame, "The camera could not be placed.")
    return {
        "frame": frame,
        "registered": pose is not None,
        "world_from_camera": pose.tolist() if pose is not None else None,
        "interpolated_camera": filled.tolist() if filled is not None else None,
        "reason": reason,
        "focal_px": track.lens_at(frame).fx if pose is not None else None,
        "depth": f"depth/{name}" if pose is not None else None,
        "confidence": f"confidence/{name}" if pose is not None else None,
        "measured": _measured_name(frame) if pose is not None else None,
        "dynamic": _matte_name(frame) if pose is not None and (root / _matte_name(frame)).is_file() else None,
        "reprojection_px": track.reprojection_px.get(frame),
        "consistency_px": consistency.get(frame),
        "confident_share": shares[frame].confident if frame in shares else None,
        "prior_only_share": shares[frame].prior_only if frame in shares else None,
    }


def _doubt_entry(frame: int, doubt: Doubt) -> dict[str, Any]:
    regions, moving = doubt.frames.get(frame), doubt.moving.get(frame)
    return {
        "expected_share": doubt.right.get(frame),
        "doubtful": None if regions is None else [region.document() for region in regions],
        "moving": None if moving is None else [region.where for region in moving],
    }
