"""One report of a shot list: `report.html` for people, `report.json` for programs (`cvd.batch/1`)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import engine
from engine import files
from engine.batch.records import key_of, read_record, result_of, stamp_of
from engine.batch.shots import Shot
from engine.errors import CvdError, WorkspaceError
from engine.export.report import STYLE
from engine.workspace import FolderLock, explain_os_error

SCHEMA_BATCH = "cvd.batch/1"
STATES = {
    "done": "Solved",
    "failed": "Failed",
    "running": "Being solved now",
    "interrupted": "Interrupted: run the batch again, it goes on where it stopped",
    "cancelled": "Cancelled: run the batch again, it goes on where it stopped",
    "stopped": "Solved in part: the later stages are to come",
    "changed": "The footage, the request or the engine has changed since: run the batch again",
    "not_started": "Not started",
}
"""What becomes of a shot, and what it means."""


def write_batch_report(shots: Sequence[Shot], report: Path) -> dict[str, Any]:
    """Look at every shot of the list and write the two files. Changes nothing else, so it may run at any time.

    Returns:
        The document in `report.json`.

    Raises:
        CvdError: the folder cannot be written.
    """
    entries = [_entry(shot, report) for shot in shots]
    counts = Counter(entry["state"] for entry in entries)
    document = {
        "schema": SCHEMA_BATCH,
        "engine": engine.__version__,
        "counts": {state: counts[state] for state in STATES if counts[state]},
        "shots": entries,
    }
    try:
        report.mkdir(parents=True, exist_ok=True)
        files.write_json(report / "report.json", document)
        files.write_text(report / "report.html", _page(document, report.name))
    except OSError as error:
        raise explain_os_error(error, report) from error
    return document


def summary(document: dict[str, Any]) -> str:
    """Such as "3 shots: 2 done, 1 failed"."""
    counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in document["counts"].items())
    shots = len(document["shots"])
    return f"{shots} shot{'s' if shots > 1 else ''}: {counts}"


def _entry(shot: Shot, report: Path) -> dict[str, Any]:
    """All that is to be said of a shot; paths relative to the report's folder where there is such a way."""
    output = shot.request.output
    record = read_record(report, shot)
    attempts = record["attempts"] if record is not None else []
    entry: dict[str, Any] = {
        "number": shot.number,
        "name": shot.name,
        "state": "not_started",
        "until": record["until"] if record is not None else None,
        "error": None,
        "verdict": None,
        "warnings": [],
        "frames": None,
        "preset": shot.request.preset,
        "attempts": attempts,
        "wall_s": round(sum(attempt["wall_s"] for attempt in attempts), 1),
        "cpu_s": None,
        "output": _relative(output, report),
        "report": None,
    }
    if record is None:
        return entry
    if record["stamp"] != stamp_of(shot):
        return entry | {"state": "changed"}
    if record["state"] == "running":
        return entry | {"state": "running" if _at_work(output) else "interrupted"}
    entry |= {"state": record["state"], "error": record["error"]}
    if record["state"] == "done":
        result = result_of(shot)
        if result is None or key_of(result) != record["solve_key"]:
            return entry | {"state": "failed", "error": _gone(output).as_dict()}
        quality, frames = result["quality"], result["frames"]
        entry |= {
            "verdict": quality["verdict"],
            "warnings": quality["warnings"],
            "frames": {"all": len(frames), "with_camera": sum(frame["registered"] for frame in frames)},
            "cpu_s": round(sum(cost["cpu_s"] for cost in result["engine"]["stages"].values()), 1),
            "report": _relative(output / "report.html", report),
        }
    return entry


def _gone(output: Path) -> CvdError:
    return WorkspaceError(
        "batch.result_gone",
        f"The result is no longer in {output}.",
        "The shot was solved, but since then its solve folder was deleted, or something else was solved into it.",
        "Run the batch again, or give the shot a folder of its own.",
    )


def _at_work(output: Path) -> bool:
    """An engine, here or on another machine, holds the folder's lock."""
    lock = FolderLock(output / "lock")
    if not (output / "lock").exists():
        return False
    try:
        lock.acquire()
    except (WorkspaceError, OSError):
        return True
    lock.release()
    return False


def _relative(path: Path, report: Path) -> str:
    try:
        return Path(os.path.relpath(path, report)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()


def _page(document: dict[str, Any], title: str) -> str:
    rows = "\n".join(_row(entry) for entry in document["shots"])
    head = "".join(f"<th>{name}" for name in ("Shot", "State", "Frames", "Preset", "Time", "Tries", "Result"))
    style = STYLE + "td,th{max-width:40rem}.failed{color:#a33b00}p{margin:.2rem 0}"
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>\n"
        f"<meta name='viewport' content='width=device-width'><style>{style}</style>\n"
        f"<h1>{escape(title)}</h1><p class='verdict'>{escape(summary(document))}</p>\n"
        f"<table><tr>{head}</tr>\n{rows}\n</table>\n"
        f"<p>Times are of all tries together. Engine {escape(document['engine'])}.</p></html>\n"
    )


def _row(entry: dict[str, Any]) -> str:
    frames, error = entry["frames"], entry["error"]
    said = [f"<p><b>{escape(STATES[entry['state']])}</b>"]
    if entry["state"] == "stopped":
        said.append(f"<p>Done until the stage {escape(entry['until'])}.")
    if entry["verdict"]:
        said.append(f"<p>{escape(entry['verdict'])}")
    said += [f"<p class='warning'>Warning: {escape(warning)}" for warning in entry["warnings"]]
    if error is not None:
        said.append(f"<p class='failed'>{escape(error['what'])}<p>Why: {escape(error['why'])}")
        said.append(f"<p>What to do: {escape(error['fix'])} ({escape(error['code'])})")
    link = entry["report"]
    cells = (
        "".join(said),
        "" if frames is None else f"{frames['with_camera']} of {frames['all']}",
        escape(entry["preset"]),
        str(timedelta(seconds=round(entry["wall_s"]))),
        str(len(entry["attempts"])),
        escape(entry["output"]) if link is None else f"<a href='{quote(link)}'>{escape(entry['output'])}</a>",
    )
    return f"<tr id='{escape(entry['name'])}'><th>{escape(entry['name'])}{''.join(f'<td>{cell}' for cell in cells)}"
