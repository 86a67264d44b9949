"""Command line of `cvd` and `engine`: solve, batch, batch-report, deliver, lens-products, fuse, doctor, evaluate."""

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
from engine.request import STAGES, Request, parse_request, read_request
from engine.schemas import choices, document_of, placed
from engine.schemas.options import add_options, given, names
from engine.solve_folder import default_folder
from engine.workspace import SCHEMA_EVENT

PRINT_INTERVAL_S = 5.0
LISTED = "listed"  # for --preset: as the list says for each shot


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
    program = "cvd" if Path(sys.argv[0]).stem == "cvd" else "engine"
    parser = argparse.ArgumentParser(prog=program, description="Consistent Video Depth engine")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    solve = commands.add_parser("solve", help="solve a clip: footage in, solve folder out")
    solve.add_argument("what", metavar="REQUEST_OR_FOOTAGE", type=Path)
    solve.add_argument("--out", type=Path, help="solve folder (default: <clip>.solve beside the footage)")
    add_options(solve)
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
    presets = (LISTED, *choices("preset"))
    parser.add_argument("--preset", choices=presets, default=LISTED, help="of all shots (default: as they say)")


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
    if what.suffix.lower() == ".json":
        options_given = [*names(options), *(["--out"] if options.out else [])]
        if options_given:
            raise RequestError(
                "request.two_sources",
                f"Options ({', '.join(options_given)}) were given beside a request file.",
                "The request file already says everything, so one of the two would be ignored.",
                "Change the request file, or give the footage itself with options.",
            )
        return read_request(what)
    output = options.out or default_folder(what, what.parent, MOVIE_SUFFIXES)
    document = document_of({"footage/path": str(what), "output": str(output), **given(options)})
    return parse_request(placed(document, Path.cwd()), "The command line")


def _shots(options: argparse.Namespace) -> tuple[list[Shot], list[Shot], Path]:
    """All shots of the list, those that were chosen, and the report's folder."""
    shots = read_shots(options.list, None if options.preset == LISTED else options.preset)
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
