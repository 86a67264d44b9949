"""Command line: `python -m engine` solve, batch, batch-report, deliver, lens-products, fuse, doctor, evaluate."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.batch.queue import Batch
from engine.batch.report import summary, write_batch_report
from engine.batch.shots import Shot, read_shots, select
from engine.deliver.kinds import KINDS
from engine.errors import Cancelled, CvdError, RequestError, Stopped
from engine.footage.movies import MOVIE_SUFFIXES
from engine.request import SCHEMA, STAGES, Request, parse_request, read_request
from engine.solve_folder import default_folder
from engine.workspace import SCHEMA_EVENT

PRINT_INTERVAL_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 1 could not, 2 bad request or usage, 130 cancelled."""
    words = [_no_option(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    options = _parser().parse_args(words)
    try:
        return int(options.command(options))
    except Stopped as stopped:
        print(stopped, file=sys.stderr if getattr(options, "json", False) else sys.stdout)
        return stopped.exit_code
    except Cancelled as cancelled:
        print(str(cancelled) or "Cancelled. Starting again goes on where it stopped.", file=sys.stderr)
        return cancelled.exit_code
    except CvdError as error:
        print(f"error: {error.what}\n  why: {error.why}\n  fix: {error.fix}", file=sys.stderr)
        return error.exit_code
    except Exception as error:  # no traceback for who only wanted a solve
        last = traceback.extract_tb(error.__traceback__)[-1]
        print(
            "error: The engine stopped because of a defect in it.\n"
            f"  why: {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})\n"
            "  fix: Please report these lines with the command that was given.",
            file=sys.stderr,
        )
        return CvdError.exit_code


def _no_option(word: str) -> str:
    """A word of the command line; with the folder before it where it names a file and would be taken for an option."""
    try:
        names_a_file = word.startswith("-") and bool(Path(word).suffix) and Path(word).is_file()
    except OSError:  # longer than a name can be
        return word
    return f".{os.sep}{word}" if names_a_file else word


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="engine", description="Consistent Video Depth engine")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    solve = commands.add_parser("solve", help="solve a clip: footage in, solve folder out")
    solve.add_argument("what", metavar="REQUEST_OR_FOOTAGE", type=Path)
    solve.add_argument("--out", type=Path, help="solve folder (default: <clip>.solve beside the footage)")
    solve.add_argument("--first", type=int, help="first plate frame (movies count from 1)")
    solve.add_argument("--last", type=int, help="last plate frame, inclusive")
    solve.add_argument("--step", type=int, help="every STEP-th frame")
    solve.add_argument("--colourspace", choices=["auto", "srgb", "linear"])
    solve.add_argument("--lens-model", choices=["AUTO", "SIMPLE_PINHOLE", "SIMPLE_RADIAL"])
    solve.add_argument("--focal-px", type=float, help="known focal length in plate pixels")
    solve.add_argument("--focal-mm", type=float, help="known focal length in mm, with --sensor-mm or --body")
    solve.add_argument("--sensor-mm", type=float, help="width in mm of what the sensor records")
    solve.add_argument("--body", help="a camera of engine/cameras/database.json, for its sensor")
    solve.add_argument("--pixel-aspect", type=float, help="known width of a plate pixel over its height, as in Blender")
    solve.add_argument(
        "--principal", type=float, nargs=2, metavar=("X", "Y"), help="known principal point in plate pixels"
    )
    solve.add_argument("--no-metadata", action="store_true", help="do not look into the footage for its focal length")
    kinds = ["solve", "deepv2d", "colmap", "chan", "json"]
    solve.add_argument("--camera", choices=kinds, help="where the cameras come from")
    solve.add_argument("--camera-path", help="the COLMAP model's folder, the .chan or the cvd.camera/1 file")
    solve.add_argument("--camera-metric", action="store_true", help="the given camera is in metres")
    solve.add_argument("--film-back", type=float, nargs=2, metavar=("W", "H"), help="chan: film back in mm")
    solve.add_argument("--rotation-order", choices=["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"], help="chan: default ZXY")
    solve.add_argument("--tracks", help="cvd.tracks/1 file: points followed by the artist")
    solve.add_argument("--camera-height", type=float, help="metres from the ground up to the camera")
    solve.add_argument(
        "--distance",
        type=float,
        nargs=7,
        metavar=("METRES", "FRAME", "X", "Y", "FRAME", "X", "Y"),
        help="how far apart two places are that stand still, each picked on a frame, in plate pixels",
    )
    solve.add_argument("--masks", help="sequence of masks with the plate's frame numbers: white moves by itself")
    solve.add_argument("--segmentation", help="segmentation model: a folder, or a name in the local cache")
    solve.add_argument("--no-motion", action="store_true", help="do not look for what moves by itself")
    solve.add_argument("--prior", choices=["auto", "builtin", "transformers", "maps", "none"])
    solve.add_argument("--prior-path", help="model folder or name in the local cache; folder or file of depth maps")
    solve.add_argument("--maps", choices=["depth", "disparity"], help="what the maps hold")
    solve.add_argument("--allow-non-commercial", action="store_true", help="allow weights that exclude paid work")
    solve.add_argument("--stereo", choices=["none", "side_by_side", "two_files"])
    solve.add_argument("--right", help="two_files: footage of the right eye")
    solve.add_argument("--baseline", type=float, help="distance of the eyes in metres")
    solve.add_argument("--method", choices=["cvd", "selfsup", "deepv2d", "deepv2d+cvd"])
    solve.add_argument("--preset", choices=["preview", "standard", "best", "cvd-2020"])
    solve.add_argument("--seed", type=int)
    solve.add_argument("--device", choices=["auto", "cpu", "cuda"])
    solve.add_argument("--replace", action="store_true", help="replace a finished solve of other footage in the folder")
    until = "last stage to do; a later solve goes on from there (docs/farm.md)"
    solve.add_argument("--until", choices=STAGES, default=STAGES[-1], metavar="STAGE", help=until)
    solve.add_argument("--json", action="store_true", help="print every event and status as a JSON line")
    solve.set_defaults(command=_solve)

    batch = commands.add_parser("batch", help="solve a list of shots: a queue, retries, one report (docs/farm.md)")
    _add_list(batch)
    batch.add_argument("--parallel", type=_positive, default=1, metavar="N", help="shots solved at a time")
    batch.add_argument("--retries", type=_count, default=2, metavar="N", help="when trying again may help")
    until = "last stage to do; a later run goes on from there"
    batch.add_argument("--until", choices=STAGES, default=STAGES[-1], metavar="STAGE", help=until)
    task = "for farms: write no report, fail only where trying again may help, leave what an earlier task failed in"
    batch.add_argument("--task", action="store_true", help=task)
    batch.set_defaults(command=_batch)

    merge = commands.add_parser("batch-report", help="write the report of a list of shots, as far as they are solved")
    _add_list(merge)
    merge.set_defaults(command=_batch_report)

    lens = commands.add_parser("lens-products", help="ST-maps and the undistorted plate of a finished solve")
    lens.add_argument("solve", type=Path)
    lens.add_argument(
        "--st-maps", action="store_true", help="lens/undistort.exr and lens/redistort.exr, as Nuke has it"
    )
    lens.add_argument("--undistorted", action="store_true", help="the plate without distortion, as undistorted/*")
    lens.add_argument("--overscan", type=float, default=0.0, metavar="PERCENT", help="added on each side, of the width")
    lens.set_defaults(command=_lens_products)

    deliver = commands.add_parser("deliver", help="a finished solve for other programs (docs/exports.md)")
    deliver.add_argument("solve", type=Path)
    deliver.add_argument("--out", type=Path, required=True, help="a new, an empty, or an earlier delivery's folder")
    listed = f"of {', '.join(KINDS)}, with commas between them; default: all that the shot has"
    deliver.add_argument("--as", dest="kinds", type=_kinds, metavar="KINDS", help=listed)
    placed = "4x4 matrix, row by row, from the solve's world to the one to deliver, both with z up; it may scale"
    deliver.add_argument("--placed", type=float, nargs=16, metavar="NUMBER", help=placed)
    deliver.add_argument("--json", action="store_true", help="print every event and status as a JSON line")
    deliver.set_defaults(command=_deliver)

    fuse = commands.add_parser("fuse", help="add the fused mesh to a finished solve that has none")
    fuse.add_argument("solve", type=Path)
    fuse.set_defaults(command=_fuse)

    doctor = commands.add_parser("doctor", help="check this computer, with a fix for each problem")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(command=_doctor)

    evaluate = commands.add_parser("evaluate", help="compare a solve with ground truth")
    evaluate.add_argument("solve", type=Path)
    evaluate.add_argument("--truth", type=Path, required=True, help="folder with truth.json")
    evaluate.add_argument("--json", action="store_true")
    evaluate.set_defaults(command=_evaluate)
    return parser


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("list", metavar="SHOTS", type=Path, help="a cvd.shots/1 file")
    parser.add_argument("--report", type=Path, help="folder of the report (default: <list>.report beside the list)")
    parser.add_argument("--shots", metavar="NUMBERS", help='of the list, counted from 1, such as "2" or "1-3,7"')
    presets = ["listed", "preview", "standard", "best", "cvd-2020"]
    parser.add_argument("--preset", choices=presets, default="listed", help="of all shots (default: as they say)")


def _positive(word: str) -> int:
    if int(word) < 1:
        raise ValueError(word)
    return int(word)


def _count(word: str) -> int:
    if int(word) < 0:
        raise ValueError(word)
    return int(word)


def _kinds(words: str) -> list[str]:
    kinds = [word for word in words.split(",") if word]
    for kind in kinds:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"{kind!r} is none of {', '.join(KINDS)}")
    return kinds


def _solve(options: argparse.Namespace) -> int:
    request = _request(options)
    from engine.pipeline import solve  # torch takes seconds to import: not before the request is known to be good

    printer = JsonPrinter() if options.json else LinePrinter()
    try:
        folder = solve(request, printer, until=options.until)
    except CvdError as error:
        if isinstance(printer, JsonPrinter):
            printer.fail(error)
        raise
    if not options.json:
        quality = json.loads((folder / "solve.json").read_text(encoding="utf-8"))["quality"]
        print(f"{quality['verdict']}\nSolve folder: {folder}\nReport: {folder / 'report.html'}")
    return 0


def _request(options: argparse.Namespace) -> Request:
    what: Path = options.what.absolute()
    footage = {
        "first": options.first, "last": options.last, "step": options.step, "colourspace": options.colourspace,
        "stereo": options.stereo, "right": _absolute(options.right), "baseline": options.baseline,
    }  # fmt: skip
    lens = {
        "model": options.lens_model, "focal_px": options.focal_px, "focal_mm": options.focal_mm,
        "sensor_mm": options.sensor_mm, "camera": options.body, "metadata": False if options.no_metadata else None,
        "pixel_aspect": options.pixel_aspect, "principal_px": options.principal,
    }  # fmt: skip
    camera = {
        "kind": options.camera, "path": _absolute(options.camera_path), "film_back_mm": options.film_back,
        "rotation_order": options.rotation_order, "metric": options.camera_metric or None,
    }  # fmt: skip
    world = {"camera_height": options.camera_height, "distance": _distance(options.distance)}
    masks = {
        "path": _absolute(options.masks),
        "segmentation": _found(options.segmentation),
        "motion": False if options.no_motion else None,
        "allow_non_commercial": options.allow_non_commercial or None,
    }
    prior = {
        "kind": options.prior,
        "path": _found(options.prior_path),
        "maps": options.maps,
        "allow_non_commercial": options.allow_non_commercial or None,
    }
    top = {
        "tracks": _absolute(options.tracks), "method": options.method, "preset": options.preset, "seed": options.seed,
        "device": options.device, "replace": options.replace or None,
    }  # fmt: skip
    given = {
        name: value
        for part in (footage, lens, camera, world, masks, prior, top)
        for name, value in part.items()
        if value is not None
    } | ({"out": options.out} if options.out else {})
    if what.suffix.lower() == ".json":
        if given:
            raise RequestError(
                "request.two_sources",
                f"Options ({', '.join(given)}) were given beside a request file.",
                "The request file already says everything, so one of the two would be ignored.",
                "Change the request file, or give the footage itself with options.",
            )
        return read_request(what)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "footage": {"path": str(what), **_given(footage)},
        "output": str((options.out or default_folder(what, what.parent, MOVIE_SUFFIXES)).absolute()),
        "lens": _given(lens),
        "camera": _given(camera),
        "world": _given(world),
        "masks": _given(masks),
        "prior": _given(prior),
        **_given(top),
    }
    return parse_request(document, "The command line")


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())


def _found(name: str | None) -> str | None:
    """A path made absolute; the name of a model in the cache as it is."""
    return _absolute(name) if name is not None and Path(name).exists() else name


def _distance(words: list[float] | None) -> dict[str, Any] | None:
    if words is None:
        return None
    metres, *places = words
    a, b = ([int(frame) if frame.is_integer() else frame, x, y] for frame, x, y in (places[:3], places[3:]))
    return {"metres": metres, "a": a, "b": b}


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _shots(options: argparse.Namespace) -> tuple[list[Shot], list[Shot], Path]:
    """All shots of the list, those that were chosen, and the report's folder."""
    shots = read_shots(options.list, None if options.preset == "listed" else options.preset)
    report: Path = options.report or options.list.parent / f"{options.list.stem}.report"
    return shots, select(shots, options.shots) if options.shots else shots, report.absolute()


def _batch(options: argparse.Namespace) -> int:
    shots, chosen, report = _shots(options)
    batch = Batch(
        report,
        until=options.until,
        retries=options.retries,
        parallel=options.parallel,
        task=options.task,
        say=lambda text: print(text, flush=True),
        progress=OpenJDProgress() if len(chosen) == 1 and "OPENJD_SESSION_WORKING_DIR" in os.environ else _unsaid,
    )
    if options.task:
        return 1 if any(outcome.may_pass for outcome in batch.run(chosen).values()) else 0
    try:
        outcomes = batch.run(chosen)
    finally:  # also of what was cancelled
        print(summary(write_batch_report(shots, report)) + f"\nReport: {report / 'report.html'}")
    return 1 if any(outcome.error for outcome in outcomes.values()) else 0


class OpenJDProgress:
    """Prints progress in the words that a render manager of the Open Job Description reads from a task's output."""

    def __init__(self) -> None:
        self._told = ""

    def __call__(self, fraction: float) -> None:
        """Print what has not been printed yet."""
        line = f"openjd_progress: {100.0 * fraction:.0f}"
        if line != self._told:
            print(line, flush=True)
        self._told = line


def _unsaid(_fraction: float) -> None:
    pass


def _batch_report(options: argparse.Namespace) -> int:
    shots, chosen, report = _shots(options)
    document = write_batch_report(shots, report)
    print(summary(document) + f"\nReport: {report / 'report.html'}")
    done = {entry["name"] for entry in document["shots"] if entry["state"] == "done"}
    return 0 if done.issuperset(shot.name for shot in chosen) else 1


class JsonPrinter:
    """Prints every event and status as one JSON line."""

    def __init__(self) -> None:
        self._failure_told = False

    def __call__(self, document: dict[str, Any]) -> None:
        """Print a document."""
        self._failure_told |= document.get("type") == "solve_failed"
        print(json.dumps(document), flush=True)

    def fail(self, error: CvdError) -> None:
        """Print the failure of a solve that could not even open its folder, and so has told nothing."""
        if not self._failure_told:
            self({"schema": SCHEMA_EVENT, "time": time.time(), "type": "solve_failed", "data": error.as_dict()})


class LinePrinter:
    """Prints progress for people: a line when a stage changes, then one every few seconds."""

    def __init__(self) -> None:
        self._last_print = 0.0

    def __call__(self, document: dict[str, Any]) -> None:
        """Print what is worth a line."""
        if document["schema"] == "cvd.event/1":
            self._event(document)
        elif document["state"] == "running" and time.monotonic() - self._last_print > PRINT_INTERVAL_S:
            self._last_print = time.monotonic()
            left = f", {format_seconds(document['eta_s'])} left" if document["eta_s"] is not None else ""
            print(f"  {document['fraction']:4.0%}  {document['message']}{left}", flush=True)

    def _event(self, document: dict[str, Any]) -> None:
        kind, stage, data = document["type"], document["stage"], document["data"]
        if kind == "stage_started":
            print(f"{stage} …", flush=True)
            self._last_print = time.monotonic()
        elif kind == "stage_reused":
            print(f"{stage}: already done, taken from the cache", flush=True)
        elif kind == "stage_done":
            print(f"{stage}: done in {format_seconds(data['wall_s'])} ({data['peak_memory_mb']:.0f} MB)", flush=True)
        elif kind == "warning":
            print(f"warning: {data['message']}", flush=True)


def format_seconds(seconds: float) -> str:
    """A duration for people: 42 s, 3 min 05 s, 1 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _doctor(options: argparse.Namespace) -> int:
    from engine.doctor import report

    return report(options.json)


def _deliver(options: argparse.Namespace) -> int:
    from engine.deliver.run import deliver

    printer = JsonPrinter() if options.json else LinePrinter()
    try:
        folder = deliver(options.solve.absolute(), options.out.absolute(), options.kinds, options.placed, printer)
    except CvdError as error:
        if isinstance(printer, JsonPrinter):
            printer.fail(error)
        raise
    if not options.json:
        print(f"Delivered: {folder}\nHow to read it: {folder / 'README.txt'}")
    return 0


def _lens_products(options: argparse.Namespace) -> int:
    from engine.export.lens import write_lens_products

    if not (options.st_maps or options.undistorted):
        raise RequestError(
            "lens.nothing",
            "Nothing was asked for.",
            "There is neither --st-maps nor --undistorted.",
            "Give one of them.",
        )

    for path in write_lens_products(
        options.solve, options.st_maps, options.undistorted, options.overscan, _tell_frames
    ):
        print(path)
    return 0


def _fuse(options: argparse.Namespace) -> int:
    from engine.export.fused_file import add_fused

    made = add_fused(options.solve, _tell_frames)
    print(
        "Nothing is sure enough for a mesh."
        if made is None
        else f"{made['faces']} faces: {options.solve / made['file']}"
    )
    return 0


def _tell_frames(done: int, total: int) -> None:
    print(f"\r  {done} of {total} frames", end="\n" if done == total else "", flush=True)


def _evaluate(options: argparse.Namespace) -> int:
    from engine.evaluation.compare import evaluate

    figures = evaluate(options.solve, options.truth)
    if options.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:20} {value:.4f}")
    return 0
