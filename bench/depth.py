"""Every way to make depth side by side: accuracy, cost, consistency, drift, edges, masks, thin things, confidence.

usage: python -m bench.depth [--out DIR] [--full] [--only VARIANT,...] [--again VARIANT,...] [--tables] [CLIP ...]

Each clip is solved once up to the evidence; every variant starts from those very stages, so cameras, flow and what was
measured are the same, and is brought to plate resolution in the same way. Figures: `../shared/score/score.py`, on all
frames; what the exported depth is worth and whether its confidence is honest: `bench/depth_figures.py`. Costs: CPU
seconds of one thread. CLIP is a folder of `../shared/data` or `build/shots` (`python -m tests.scenes --thin`), or
`room`, the bundled clip; those that are not there are left out. Prints all its tables. What was measured before is kept
in DIR; `--again` measures those variants anew (`exported`: the solve itself; `base`: the clip's stages as well, and
with them everything; what goes on from another's training, such as `default` from `network`, wants both), `--only`
measures no others, `--tables` nothing at all. What takes long, such as the training of `cvd-2020`, is measured on a few
clips, with `--full` on all of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from bench import depth_figures, masks
from bench.depth_figures import markdown
from engine import footage
from engine.clip.depth_map import DepthFrames
from engine.clip.plate_grid import PlateGrid, upsample_depth
from engine.clip.track import CameraTrack
from engine.clip.work import WorkClip
from engine.depth.cvd import Measured, consistency, solve_depth
from engine.depth.data import Found, TrainingData
from engine.depth.scale import read_scale
from engine.depth.settings import PRESETS, DepthSettings, settings_of
from engine.depth.training import train
from engine.evaluation.compare import report_of
from engine.evaluation.stability import track_stability
from engine.export.edges import EdgeSharpener
from engine.files import write_exr, write_json, write_npy
from engine.flow.stage import load_pair
from engine.footage import Footage, FrameFiles
from engine.geometry.arrays import array_from_pixel, rigid_inverse
from engine.geometry.tensors import project, sample, transform, unproject
from engine.masks.files import load_dynamic
from engine.pipeline import solve
from engine.priors import choose_prior
from engine.progress import Silent
from engine.request import FootageRequest, PriorRequest, Request
from tests.scenes.thin import THIN

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
SHOTS = ROOT / "build" / "shots"
CPU = torch.device("cpu")
LONG = ("kitchen_short", "hololens_table", "room")  # clips on which everything is measured
CLIPS = (*LONG, "kitchen_a", "kitchen_apple", "hololens_foosball", "shelf_box", *THIN)
MASKED = ("kitchen_apple", "tennis")
EPOCHS = (1, 2, 5, 10, 20)  # of cvd-2020: accuracy over time
DRIFT_EPOCHS = 5
STRONGEST = 0.05  # share of the pixels whose picture gradient makes them a plate edge
SCORES = ("absrel", "d125", "absrel_frame", "flicker_pct", "scale_gap_pct", "reproj_px", "depth_cover")
EDGES = (
    "depth_boundary_f1", "depth_boundary_f2", "matte_boundary_f", "matte_iou", "halo_share", "edge_offset_px",
    "edge_crawl_px",
)  # fmt: skip
EXPORTED = "exported"  # the solve itself, beside the variants
LOWER_IS_BETTER = ("absrel", "absrel_frame", "flicker_pct", "reproj_px")

Array = NDArray[np.float32]
Result = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A clip and its stages.

    Attributes:
        name: of the clip.
        truth: folder that holds `truth.json`.
        base: solve folder with the stages that all variants share.
        work: folder of the variants.
    """

    name: str
    truth: Path
    base: Path
    work: Path

    @property
    def rendered(self) -> bool:
        """Its true depth is exact, outlines too."""
        return depth_figures.is_rendered(self.truth)

    @cached_property
    def request(self) -> Request:
        """The clip with default settings and the built-in prior."""
        movies = sorted(self.truth.glob("*.mp4"))
        plate = self.truth / "frames" if (self.truth / "frames").is_dir() else movies[0]
        return Request(FootageRequest(plate), self.base, prior=PriorRequest("builtin"), device="cpu")

    @cached_property
    def shot(self) -> Footage:
        """The plate."""
        return footage.probe(self.request.footage.path)

    @cached_property
    def stages(self) -> dict[str, Path]:
        """Folders of the stages of `base`, which is solved unless it has been."""
        if not (self.base / "solve.json").is_file():
            solve(self.request, lambda _event: None)
        finished = sorted((self.base / "cache").glob("*/stage.json"), key=lambda path: path.stat().st_mtime)
        return {path.parent.name.partition("-")[0]: path.parent for path in finished}

    @cached_property
    def scale(self) -> float:
        """From the units of the poses to those of the depth."""
        return read_scale(self.stages["scale"])

    @cached_property
    def track(self) -> CameraTrack:
        """Cameras and points in the units of the depth."""
        return CameraTrack.load(self.stages["poses"]).scaled(self.scale)

    @cached_property
    def proxies(self) -> Path:
        """Working copies of the frames."""
        return self.stages["footage"] / "proxy"

    @cached_property
    def fine(self) -> WorkClip:
        """The same frames on the grid that depth is measured on."""
        return WorkClip.load(self.proxies, self.track, settings_of(self.request).measured_side, Silent())

    def grid(self, folder: Path) -> WorkClip:
        """The frames on the grid of a variant's depth."""
        depth = FrameFiles(folder / "depth", ".npy").load(self.numbers[0])
        return self.fine if depth.shape == self.fine.images.shape[1:3] else self.clip

    @property
    def prior(self) -> DepthFrames:
        """What the built-in network says."""
        return DepthFrames(self.stages["prior"], self.clip.half_lens, "solved")

    @property
    def evidence(self) -> DepthFrames:
        """What was measured."""
        return DepthFrames(self.stages["evidence"], self.fine.lens, "clip")

    @cached_property
    def clip(self) -> WorkClip:
        """What the dense stages see."""
        return WorkClip.load(self.proxies, self.track, settings_of(self.request).long_side, Silent())

    @cached_property
    def numbers(self) -> list[int]:
        """Plate frame numbers."""
        return [int(number) for number in self.clip.numbers]

    def data(self, settings: DepthSettings) -> TrainingData:
        """What a network is trained on, as the pipeline gives it."""
        prior = choose_prior(self.request.prior)
        assert prior is not None
        evidence = self.evidence if settings.measured else None
        flow, motion = self.stages["flow"], self.stages["motion"]
        return TrainingData.load(self.clip, Found(flow, motion, self.prior, prior.output != "depth", evidence))

    def cost(self, *stages: str) -> float:
        """CPU seconds of stages of `base`."""
        records = [self.stages[name] / "stage.json" for name in stages]
        return float(sum(json.loads(record.read_text(encoding="utf-8"))["cost"]["cpu_s"] for record in records))

    @property
    def shared_cost(self) -> float:
        """CPU seconds of what every variant needs: all but evidence and depth."""
        return self.cost(*(name for name in self.stages if name not in ("evidence", "depth")))

    def result(self, variant: str) -> Result | None:
        """What was measured."""
        with suppress(FileNotFoundError):
            return dict(json.loads((self.work / variant / "result.json").read_text(encoding="utf-8")))
        return None


# --- variants: each writes depth/000101.npy (H, W), 0 = none, on the work grid, and returns its CPU seconds ---


def prior_alone(case: Case, folder: Path) -> float:
    """A picture at a time, fitted to the sparse points."""
    for number in case.numbers:
        guess = case.prior.load(number).values
        write_npy(FrameFiles(folder / "depth", ".npy").path(number), _enlarged(case, guess, cv2.INTER_LINEAR))
    return case.cost("prior")


def sweep_measured(case: Case, folder: Path) -> float:
    """Where neighbours confirm the sweep, and nothing elsewhere."""
    for number in case.numbers:
        write_npy(FrameFiles(folder / "depth", ".npy").path(number), case.evidence.load(number).values)
    return case.cost("evidence")


def sweep_filled(case: Case, folder: Path) -> float:
    """Holes take the value of the nearest pixel that has one; frames without any the clip's median."""
    start = time.process_time()
    unit = float(np.median(np.concatenate([depth for _, depth in case.clip.sparse])))
    for number in case.numbers:
        depth = case.evidence.load(number).values
        if depth.any():
            _, label = cv2.distanceTransformWithLabels(
                (depth == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
            )
            known = np.zeros(int(label.max()) + 1, np.float32)
            known[label[depth > 0]] = depth[depth > 0]
            depth = known[label]
        else:
            depth = np.full_like(depth, unit)
        write_npy(FrameFiles(folder / "depth", ".npy").path(number), depth)
    return case.cost("evidence") + time.process_time() - start


def trained(settings: Callable[[Case], DepthSettings], after: str | None = None) -> Callable[[Case, Path], float]:
    """The depth stage with these settings, going on from where the training of the variant `after` ended."""

    def make(case: Case, folder: Path) -> float:
        chosen = settings(case)
        before = _go_on(case, after, folder)
        data = case.data(chosen)
        start = time.process_time()
        # Trained apart from what is done with it, so that another variant can go on from here; with neighbours only,
        # `solve_depth` chooses the pairs itself.
        if not chosen.consecutive:
            train(data, chosen, folder, case.request.seed, CPU, Silent())
        spent = before + time.process_time() - start
        if (folder / "checkpoint.pt").exists():
            shutil.copy(folder / "checkpoint.pt", folder / "trained.pt")
        write_json(folder / "training.json", {"cpu_s": spent})
        start = time.process_time()
        found = Measured(case.fine, case.evidence) if chosen.measured else None
        solve_depth(case.clip, found, chosen, data, folder, case.request.seed, CPU, Silent())
        return spent + time.process_time() - start + (case.cost("evidence") if chosen.measured else 0.0)

    return make


def network_alone(settings: Callable[[Case], DepthSettings]) -> Callable[[Case, Path], float]:
    """What the network says after training with these settings, without what was measured being fused in."""

    def make(case: Case, folder: Path) -> float:
        chosen = settings(case)
        data = case.data(chosen)
        start = time.process_time()
        network = train(data, chosen, folder, case.request.seed, CPU, Silent())
        write_json(folder / "training.json", {"cpu_s": time.process_time() - start})
        if (folder / "checkpoint.pt").exists():
            (folder / "checkpoint.pt").rename(folder / "trained.pt")
        with torch.no_grad():
            for row, number in enumerate(case.numbers):
                depth = (network(data.inputs([row], CPU))[0, 0].exp() * data.unit).numpy()
                write_npy(FrameFiles(folder / "depth", ".npy").path(number), _enlarged(case, depth, cv2.INTER_LINEAR))
        return case.cost("evidence") + time.process_time() - start

    return make


def as_default(case: Case, folder: Path) -> float:
    """The default's depth, for another way to plate resolution."""
    shutil.copytree(case.work / "default" / "depth", folder / "depth", dirs_exist_ok=True)
    result = case.result("default")
    assert result is not None
    return float(result["depth_cpu_s"])


def _go_on(case: Case, after: str | None, folder: Path) -> float:
    """Start from another variant's training; returns what that has cost."""
    if after is None:
        return 0.0
    with suppress(FileNotFoundError):  # no step was made
        shutil.copy(case.work / after / "trained.pt", folder / "checkpoint.pt")
    record = json.loads((case.work / after / "training.json").read_text(encoding="utf-8"))
    return float(record["cpu_s"])


def _enlarged(case: Case, depth: Array, interpolation: int) -> Array:
    """From the half grid to the work grid."""
    size = (case.clip.lens.width, case.clip.lens.height)
    return np.asarray(cv2.resize(depth, size, interpolation=interpolation), np.float32)


def published(epochs: int) -> Callable[[Case], DepthSettings]:
    """`cvd-2020` after so many of its epochs."""
    return lambda _case: replace(PRESETS["cvd-2020"], published_epochs=epochs)


def published_neighbours(case: Case) -> DepthSettings:
    """The same number of steps as `DRIFT_EPOCHS` of `cvd-2020`, on pairs of neighbours only."""
    settings = PRESETS["cvd-2020"]
    pairs, row = case.data(settings).pairs, {number: row for row, number in enumerate(case.numbers)}
    near = sum(row[pair.second] - row[pair.first] == 1 for pair in pairs)
    steps = (-(-count // settings.batch_pairs) for count in (len(pairs), near))
    every, some = steps
    return replace(settings, published_epochs=round(DRIFT_EPOCHS * every / some), consecutive=True)


def default(case: Case) -> DepthSettings:
    """The standard preset."""
    return settings_of(case.request)


def tuned(_case: Case) -> DepthSettings:
    """The standard preset with the training on the clip that a solve with built-in weights leaves out."""
    return replace(PRESETS["standard"], photometric_steps=0.0)


def tuned_neighbours(case: Case) -> DepthSettings:
    """The same, trained on pairs of neighbours only."""
    return replace(tuned(case), consecutive=True)


def self_supervised(case: Case) -> DepthSettings:
    """Photometric, then the losses over pairs: method `selfsup`."""
    return settings_of(replace(case.request, method="selfsup"))


def photometric(case: Case) -> DepthSettings:
    """Only the photometric phase."""
    return replace(self_supervised(case), pair_steps=0.0)


@dataclass(frozen=True)
class Variant:
    """A way to make depth.

    Attributes:
        label: for the tables.
        make: see above.
        everywhere: measured on every clip, not only where everything is.
        plate: how it comes to plate resolution: "bilinear", "nearest" (which needs no depth everywhere), or "guided" as
            the product does it, which costs more than most variants and does nothing for one that it does not do for
            all.
    """

    label: str
    make: Callable[[Case, Path], float]
    everywhere: bool = False
    plate: str = "bilinear"


def _cvd_2020() -> Iterator[tuple[str, Variant]]:
    before = None
    for epochs in EPOCHS:
        name = f"cvd-2020.{epochs}"
        yield name, Variant(f"cvd-2020, {epochs} of 20 epochs", trained(published(epochs), before))
        before = name


VARIANTS = {
    "prior": Variant("built-in prior alone", prior_alone, everywhere=True),
    "sweep.measured": Variant("plane sweep, only where it measured", sweep_measured, True, "nearest"),
    "sweep": Variant("plane sweep, holes filled from the nearest", sweep_filled, everywhere=True),
    "network": Variant("the default's network, before fusion", network_alone(default), everywhere=True),
    "default": Variant("**default**", trained(default, "network"), everywhere=True),
    "guided": Variant("**default**, as exported (guided)", as_default, True, "guided"),
    "tuned.network": Variant("network trained on the clip, before fusion", network_alone(tuned)),
    "tuned": Variant("default, trained on the clip", trained(tuned, "tuned.network")),
    "selfsup": Variant("selfsup alone", trained(photometric)),
    "selfsup+cvd": Variant("selfsup + cvd", trained(self_supervised, "selfsup")),
    "cvd-2020.near": Variant(f"cvd-2020, steps of {DRIFT_EPOCHS} epochs, neighbours", trained(published_neighbours)),
    "tuned.near": Variant("default, trained on the clip, neighbours", trained(tuned_neighbours)),
    **dict(_cvd_2020()),
}
TABLE = tuple(name for name in VARIANTS if name not in ("cvd-2020.near", "tuned.near"))
COMPARED = tuple(name for name in TABLE if VARIANTS[name].plate == "bilinear")


# --- measuring ---


def measure(case: Case, name: str) -> Result:
    """Make a variant and score it."""
    variant, folder = VARIANTS[name], case.work / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "depth").mkdir(parents=True)
    spent = variant.make(case, folder)
    plate = folder / "plate.solve"
    write_plate(case, variant.plate, folder, plate)
    scored = subprocess.run(
        [sys.executable, str(SHARED / "score" / "score.py"), str(plate), str(case.truth), "--json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    result: Result = {
        "commit": _commit(),
        "frames": len(case.numbers),
        "depth_cpu_s": spent,
        "total_cpu_s": case.shared_cost + (0.0 if name == "prior" else spent),
        **{figure: value for figure, value in json.loads(scored.stdout).items() if figure in SCORES},
    }
    figures = depth_figures.told(report_of(plate, case.truth).figures, case.truth)
    result |= {figure: figures[figure] for figure in (*EDGES, *depth_figures.DETAILS) if figure in figures}
    if variant.plate == "bilinear":
        result |= steadiness(case, folder)
    shutil.rmtree(plate)
    write_json(folder / "result.json", result)
    return result


def measure_exported(case: Case) -> Result:
    """What the solve itself is worth, as it is exported."""
    result = depth_figures.measure(case.base, case.truth) | {"commit": _commit()}
    (case.work / EXPORTED).mkdir(parents=True, exist_ok=True)
    write_json(case.work / EXPORTED / "result.json", result)
    return result


def write_plate(case: Case, how: str, folder: Path, plate: Path) -> None:
    """The part of a solve folder that scorers read: cameras, and depth at plate resolution of the frames with truth."""
    (plate / "depth").mkdir(parents=True)
    shutil.copy(case.base / "solve.json", plate / "solve.json")
    truth = json.loads((case.truth / "truth.json").read_text(encoding="utf-8"))
    told = {frame["number"] for frame in truth["frames"] if frame["depth"]}
    wanted = [number for number in case.numbers if {number, number - 1} & told]  # edges crawl to the next frame

    def depth_of(number: int) -> Array:
        return np.asarray(FrameFiles(folder / "depth", ".npy").load(number), np.float32)

    def moving(number: int) -> NDArray[np.bool_]:
        return load_dynamic(case.stages["motion"], number, case.clip.images.shape[1:3])

    grid = case.grid(folder)
    sharpener = EdgeSharpener(case.proxies, case.track.lens, grid, depth_of, moving)
    coarse, fine = PlateGrid(case.track.lens, grid.lens), PlateGrid(case.track.lens, sharpener.lens)
    for number, image in footage.read_frames(case.shot, wanted):
        if how == "guided":
            depth = upsample_depth(sharpener.sharpen(number), image, fine)
        elif how == "bilinear":
            depth = np.asarray(1.0 / coarse.enlarge(1.0 / depth_of(number)), np.float32)
        else:
            depth = np.asarray(cv2.remap(depth_of(number), coarse.map_x, coarse.map_y, cv2.INTER_NEAREST), np.float32)
        write_exr(FrameFiles(plate / "depth", ".exr").path(number), depth)


def steadiness(case: Case, folder: Path) -> Result:
    """How well the depth agrees with itself, and how much of it changes at the picture's edges.

    consistency_px: median over the frames of the median distance, in plate pixels, between where the flow and where
    depth and cameras send a pixel (CVD eq. 7-9); by_distance_px: likewise by the number of frames between.
    disparity_pct: see `disparity_error`. instability_pct and drift_pct: see `track_stability`. edge_pct: mean |gradient
    of log depth| per work pixel, times 100, on the strongest edges of the pictures (Sobel, the upper `STRONGEST` of
    each frame); flat_pct: on all other pixels.
    """
    to_plate, grid = case.track.lens.width / case.clip.lens.width, case.grid(folder)
    agreement = consistency(case.clip, case.data(PRESETS["cvd-2020"]), DepthFrames(folder, grid.lens, "clip"))
    depths = {number: FrameFiles(folder / "depth", ".npy").load(number) for number in case.numbers}

    def depth_at(frame: int, rays: NDArray[np.float64]) -> NDArray[np.floating]:
        lens = grid.lens
        pixels = np.stack([rays[:, 0] * lens.fx + lens.cx, rays[:, 1] * lens.fy + lens.cy], axis=1)
        at = array_from_pixel(pixels).astype(np.float32)[None]
        return np.asarray(cv2.remap(depths[frame], at, None, cv2.INTER_NEAREST, borderValue=0)[0], np.float32)

    edge, flat = [], []
    for image, number in zip(grid.images, case.numbers, strict=True):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        contrast = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        strong = contrast > np.quantile(contrast, 1.0 - STRONGEST)
        change = np.hypot(*np.gradient(np.log(np.maximum(depths[number], 1e-6))))
        edge.append(float(change[strong].mean()))
        flat.append(float(change[~strong].mean()))
    return {
        "consistency_px": to_plate * statistics.median(agreement["frames"].values()),
        "by_distance_px": {gap: to_plate * value for gap, value in agreement["distance"].items()},
        "disparity_pct": disparity_error(case, depths),
        **track_stability(case.track, depth_at),
        "edge_pct": 100.0 * statistics.mean(edge),
        "flat_pct": 100.0 * statistics.mean(flat),
    }


def disparity_error(case: Case, depths: dict[int, Array]) -> float:
    """How far the disparities of two frames at the same spot differ, in percent: median over pixels, mean over pairs.

    CVD eq. 10 and 12, relative: the depth of a pixel carried into the other frame by the cameras, against the other
    frame's own depth where the flow leads. Unlike a distance in pixels it is not bounded from below by the flow's own
    errors, and near and far pairs count alike.
    """
    data = case.data(PRESETS["cvd-2020"])
    row = {number: k for k, number in enumerate(case.numbers)}
    K, errors = data.lens_matrix[None], []
    for pair in data.pairs:
        arrays = torch.from_numpy(load_pair(data.flow, pair.first, pair.second)).float()
        for k, (a, b) in enumerate(((pair.first, pair.second), (pair.second, pair.first))):
            size = (arrays.shape[2], arrays.shape[3])
            mine, other = (adaptive_avg_pool2d(torch.from_numpy(depths[n])[None, None], size) for n in (a, b))
            poses = case.clip.world_from_camera
            b_from_a = torch.tensor(rigid_inverse(poses[row[b]]) @ poses[row[a]], dtype=torch.float32)[None]
            points = unproject(mine, K)
            target = project(points, K) + arrays[k, :2].permute(1, 2, 0)
            gap = (transform(b_from_a, points)[..., 2] * sample(1.0 / other, target)[:, 0] - 1.0).abs()[0]
            believed = (arrays[k, 2] > 0) & data.still[row[a], 0]
            if believed.any():
                errors.append(float(gap[believed].median()))
    return 100.0 * statistics.mean(errors)


def _commit() -> str:
    shown = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, check=False, capture_output=True)
    return shown.stdout.decode().strip() or "?"


# --- tables ---


def _cell(result: Result, figure: str) -> str:
    return f"{result[figure]:.3g}" if isinstance(result.get(figure), float) else "-"


def method_table(case: Case) -> str:
    """Accuracy and cost of every variant."""
    rows = []
    for name in TABLE:
        result = case.result(name)
        if result:
            costs = [f"{result[cost] / result['frames']:.2f}" for cost in ("depth_cpu_s", "total_cpu_s")]
            rows.append([VARIANTS[name].label, *(_cell(result, figure) for figure in SCORES), *costs, result["commit"]])
    return markdown(["method", *SCORES, "CPU s/frame, depth", "in all", "commit"], rows)


def detail_table(case: Case) -> str:
    """Near things, thin things and gaps of every variant; shares as `bench/depth_figures.py` has them."""
    figures = [name for name in depth_figures.DETAILS if case.rendered or name not in depth_figures.EXACT]
    rows = [
        [VARIANTS[name].label, *(_cell(result, figure) for figure in figures)]
        for name in TABLE
        if (result := case.result(name))
    ]
    return markdown(["method", *figures], rows)


def best_table(case: Case) -> str:
    """The default beside the best of all that cover the whole picture, enlarged alike."""
    rows, own = [], case.result("default")
    for figure in ("absrel", "d125", "absrel_frame", "flicker_pct", "reproj_px"):
        values = {name: r[figure] for name in COMPARED if (r := case.result(name))}
        if own and values:
            best = (min if figure in LOWER_IS_BETTER else max)(values, key=lambda name: values[name])
            rows.append(
                [figure, f"{own[figure]:.4g}", f"{values[best]:.4g}", VARIANTS[best].label,
                 f"{100 * (own[figure] / values[best] - 1):+.1f} %"]
            )  # fmt: skip
    return markdown(["figure", "default", "best", "of", "default against it"], rows)


def cost_line(case: Case) -> str:
    """How much cheaper the default is than `cvd-2020` at equal AbsRel."""
    own = case.result("default")
    points = {epochs: r for epochs in EPOCHS if (r := case.result(f"cvd-2020.{epochs}"))}
    if own is None or not points:
        return ""
    reached = next((epochs for epochs, r in points.items() if r["absrel"] <= own["absrel"]), None)
    epochs = reached or max(points)
    cost = points[epochs]["depth_cpu_s"]
    how = "reaches" if reached else "has not reached"
    best = min(r["absrel"] for r in points.values())
    return (
        f"cvd-2020 {how} the default's AbsRel of {own['absrel']:.4f} after {epochs} epochs, "
        f"{cost / own['frames']:.2f} CPU s/frame, {cost / own['depth_cpu_s']:.2f} times what the default takes "
        f"({own['depth_cpu_s'] / own['frames']:.2f}). Its best: {best:.4f}."
    )


def consistency_table(case: Case) -> str:
    """Self-consistency against the prior's, as it is and at equal edge contrast.

    One depth for all pixels of all frames would agree with itself well, so an error counts for what it is against the
    depth's own changes at the edges of the picture.
    """
    rows, prior = [], case.result("prior")
    errors = ("consistency_px", "disparity_pct")
    for name in TABLE:
        result = case.result(name)
        if prior and result and "consistency_px" in result:
            gain = [prior[error] / result[error] for error in errors]
            contrast = result["edge_pct"] / prior["edge_pct"]
            ratios = [f"{ratio:.2f}" for ratio in (*gain, *(contrast * value for value in gain))]
            cells = [_cell(result, figure) for figure in (*errors, "instability_pct", "edge_pct", "flat_pct")]
            gaps = " ".join(f"{gap}: {value:.2f}" for gap, value in result["by_distance_px"].items())
            rows.append([VARIANTS[name].label, *cells, *ratios, gaps])
    header = [
        "method", "flow, px", "disparity %", "instability %", "edges %/px", "elsewhere %/px", "prior / it: flow",
        "disparity", "at equal edges: flow", "disparity", "flow, px, by frames between",
    ]  # fmt: skip
    return markdown(header, rows)


def drift_table(cases: list[Case]) -> str:
    """All pairs against neighbours only."""
    rows = []
    for case in cases:
        for name in (f"cvd-2020.{DRIFT_EPOCHS}", "cvd-2020.near", "tuned", "tuned.near"):
            result = case.result(name)
            if result:
                figures = ("drift_pct", "instability_pct", "consistency_px", "absrel", "flicker_pct", "reproj_px")
                far = [f"{list(result['by_distance_px'].values())[-1]:.3g}" if result["by_distance_px"] else "-"]
                rows.append([case.name, VARIANTS[name].label, *(_cell(result, figure) for figure in figures), *far])
    header = ["clip", "trained on", "drift %", "instability %", "pairs, px", "absrel", "flicker %", "reproj_px"]
    return markdown([*header, "farthest pairs, px"], rows)


def edge_table(cases: list[Case]) -> str:
    """Plate resolution: before and after guided upsampling."""
    rows = [
        [case.name, how, *(_cell(result, figure) for figure in EDGES)]
        for case in cases
        for name, how in (("default", "bilinear"), ("guided", "guided"))
        if case.rendered and (result := case.result(name))
    ]
    return markdown(["clip", "upsampling", *EDGES], rows)


def mask_table(out: Path) -> str:
    """What `bench/masks.py` measures, where the truth is known."""
    rows = [masks.bench(clip, out / "masks", out, None) for clip in MASKED]
    return "\n".join([f"| {' | '.join(masks.COLUMNS)} |", "|---" * len(masks.COLUMNS) + "|", *rows])


def print_tables(cases: list[Case], masks_shown: str) -> None:
    """All of them."""
    exported = [result for case in cases if (result := case.result(EXPORTED))]
    print(f"\n## As exported\n\n{depth_figures.tables(exported)}")
    for case in cases:
        print(f"\n## {case.name}\n\n{method_table(case)}\n\n{best_table(case)}\n\n{cost_line(case)}")
        print(f"\nNear, thin, gaps\n\n{detail_table(case)}")
        print(f"\nConsistency\n\n{consistency_table(case)}")
    print(f"\n## Drift\n\n{drift_table(cases)}\n\n## Edges at plate resolution\n\n{edge_table(cases)}")
    print(f"\n## Masks\n\n{masks_shown}")


def cases_of(names: list[str], out: Path) -> list[Case]:
    """The clips that are there."""
    found = []
    for name in names:
        folders = [ROOT / "sample"] if name == "room" else [SHARED / "data" / name, SHOTS / name]
        truth = next((folder for folder in folders if (folder / "truth.json").is_file()), None)
        if truth is None:
            print(f"{name} is not there and left out.", file=sys.stderr)
        else:
            found.append(Case(name, truth, out / f"{name}.solve", out / name))
    return found


def main() -> None:
    """Measure what has not been measured and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", default=CLIPS)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench" / "depth")
    parser.add_argument("--full", action="store_true", help="every variant on every clip")
    parser.add_argument("--only", default="", help="variants to measure, with commas between")
    parser.add_argument("--again", default="", help="variants to measure anew, with commas between")
    parser.add_argument("--tables", action="store_true", help="measure nothing, print what is there")
    options = parser.parse_args()
    if not (SHARED / "score").is_dir():
        sys.exit(f"{SHARED / 'score'} is absent: nothing to measure with.")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    out = options.out.absolute()
    again, only = (set(text.split(",")) - {""} for text in (options.again, options.only))
    known = (*VARIANTS, EXPORTED, "base", "masks")
    if unknown := (again | only) - set(known):
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. There are: {', '.join(known)}.")
    cases = cases_of(list(options.clips), out)
    for case in [] if options.tables else cases:
        if "base" in again:
            shutil.rmtree(case.base, ignore_errors=True)
            shutil.rmtree(case.work, ignore_errors=True)
        if (EXPORTED in only or not only) and (EXPORTED in again or case.result(EXPORTED) is None) and case.stages:
            measure_exported(case)
        for name, variant in VARIANTS.items():
            wanted = name in only if only else variant.everywhere or options.full or case.name in LONG
            if not wanted:
                continue
            if name in again or case.result(name) is None:
                result = measure(case, name)
                figures = {figure: round(value, 4) for figure, value in result.items() if isinstance(value, float)}
                print(case.name, name, figures, file=sys.stderr, flush=True)
    shown = out / "masks.md"
    if "masks" in again or not (options.tables or only or shown.is_file()):
        shown.parent.mkdir(parents=True, exist_ok=True)
        shown.write_text(mask_table(out), encoding="utf-8")
    print_tables(cases, shown.read_text(encoding="utf-8") if shown.is_file() else "")


if __name__ == "__main__":
    main()
