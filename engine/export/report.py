"""`report.html`: one self-contained page with pictures and plots, worst frames first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from engine import files
from engine.export import plots
from engine.export.doubt import REASONS

SHOWN = 6
MOST_RUNS = 12  # doubtful ones with a picture
# Name in `quality`, title, form, what it means.
FIGURES = (
    ("registered_share", "Frames with a camera", "{:.0%}", "frames without one are listed below, with the reason"),
    (
        "reprojection_px",
        "Reprojection of the sparse points, median",
        "{:.2f} px",
        "how well the cameras explain where points are seen; below 1 px is good",
    ),
    (
        "consistency_px",
        "Depth against optical flow, median",
        "{:.2f} px",
        "how far depth and camera send a pixel from where the picture's own motion does; below 1 px is good",
    ),
    (
        "instability_pct",
        "Instability",
        "{:.2f} % of its depth",
        "step of a static point from frame to frame when the depth lifts it into the scene: flicker",
    ),
    (
        "drift_pct",
        "Drift",
        "{:.2f} % of its depth",
        "how far such a point wanders over all the frames that see it: slow change that no frame shows alone",
    ),
    (
        "confident_share",
        "Measured",
        "{:.0%} of the picture",
        "several camera positions agree on the depth there",
    ),
    (
        "prior_only_share",
        "Guessed",
        "{:.0%} of the picture",
        "carried on from what is around, or the network's: look twice before putting anything there",
    ),
    (
        "expected_share",
        "Expected to be right",
        "{:.0%} of the picture",
        "depth within 5 % of the truth, by its confidence; moving objects are left out",
    ),
    (
        "dynamic_share",
        "Moves by itself",
        "{:.1%} of the picture",
        "kept out of cameras and geometry; its depth follows the network, tied to what is around it",
    ),
)
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse}td,th{padding:.2rem 1rem .2rem 0;text-align:left;vertical-align:top}
th{font-weight:600}td.meaning{color:#666}tr+tr>*{border-top:1px solid #eee}
figure{display:inline-block;margin:.3rem .6rem .3rem 0}figcaption{font-size:13px;color:#555}
img{display:block;max-width:100%}.small img{width:17rem}
.verdict{font-size:18px}.warning{color:#a33b00}
svg{background:#fafafa;margin:.3rem .6rem .3rem 0;max-width:100%}svg text{font:12px system-ui,sans-serif;fill:#444}
svg .title{font-weight:600;font-size:13px}.grid{stroke:#e4e4e4}.axis{stroke:#888;fill:none}
.line{stroke:#3566a8;fill:none;stroke-width:1.5}.dot{fill:#3566a8}.start{fill:none;stroke:#a33b00;stroke-width:2}
.line1{stroke:#c77700}svg .name0{fill:#3566a8}svg .name1{fill:#c77700}.doubtful{fill:#a33b00;fill-opacity:.15}
"""


class Thumbnails(NamedTuple):
    """Pictures of a frame as data URIs; `marked` is the plate with what was guessed in blue, moving objects in red and
    doubtful regions framed in yellow."""

    plate: str
    depth: str
    confidence: str
    marked: str


class Pictures(NamedTuple):
    """All pictures of the page: some frames by plate frame number, and the clip, plate beside depth, as a data URI."""

    frames: Mapping[int, Thumbnails]
    clip: str


def frames_to_show(frames: Sequence[int], consistency: dict[int, float], doubtful: Sequence[int] = ()) -> list[int]:
    """Doubtful frames first, in their order; then the worst by consistency; then the first, middle and last.

    Args:
        frames: those that have depth.
        consistency: frame -> distance to the flow.
        doubtful: the worst frame of each doubtful run.
    """
    worst = sorted((f for f in frames if f in consistency), key=lambda f: -consistency[f])[: SHOWN // 2]
    spread = [frames[0], frames[len(frames) // 2], frames[-1]]
    return list(dict.fromkeys([*doubtful[:MOST_RUNS], *worst, *spread]))


def write_report(
    path: Path, name: str, solve: dict[str, Any], pictures: Pictures, scale_per_frame: Mapping[int, float]
) -> None:
    """Write the page.

    Args:
        path: of the page.
        name: of the solve, its heading.
        solve: the `solve.json` document.
        pictures: what to show.
        scale_per_frame: plate frame number -> scale of that frame alone (CVD eq. 1).
    """
    frames, quality = solve["frames"], solve["quality"]
    by_number = {frame["frame"]: frame for frame in frames}
    runs = {run["worst"]: run for run in reversed(quality.get("doubtful") or [])}
    rank = {number: place for place, number in enumerate(reversed(runs))}
    order = sorted(pictures.frames, key=lambda n: (rank.get(n, len(rank)), -(by_number[n]["consistency_px"] or 0.0)))
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(name)}: solve report</title>",
        "<meta name='viewport' content='width=device-width'>",
        f"<style>{STYLE}</style><h1>{escape(name)}</h1><p class='verdict'>{escape(quality['verdict'])}</p>",
        *(f"<p class='warning'>Warning: {escape(text)}</p>" for text in quality["warnings"]),
        _picture("The clip and its depth, near is bright", pictures.clip),
        "<h2>Quality</h2>",
        _quality_table(solve),
        "<h2>Worst frames first</h2>",
        *(_frame(by_number[number], pictures.frames[number], runs.get(number)) for number in order),
        "<h2>Over the clip</h2>",
        _frame_plot("Depth against optical flow", "px", frames, "consistency_px"),
        _distance_plot(quality.get("consistency_by_distance_px") or {}),
        _share_plot(frames, quality.get("doubtful") or []),
        _scale_plot(scale_per_frame),
        _frame_plot("Reprojection of the sparse points", "px", frames, "reprojection_px"),
        _camera_plot(frames, solve["world"]["unit"]),
        _gaps(frames),
        "<h2>How it was made</h2>",
        _making_table(solve),
        "<h2>Cost</h2>",
        _cost_table(solve["engine"]),
        "</html>",
    ]
    files.write_text(path, "\n".join(part for part in parts if part) + "\n")


def _quality_table(solve: dict[str, Any]) -> str:
    rows = [
        (title, form.format(solve["quality"][name]), meaning)
        for name, title, form, meaning in FIGURES
        if solve["quality"].get(name) is not None
    ]
    return _table(rows)


def _making_table(solve: dict[str, Any]) -> str:
    lens, depth = solve["lens"], solve["depth"]
    unknown = lens["uncertainty_pct"] is None
    doubt = "" if unknown else f" ± {lens['uncertainty_pct']:.1f} %"
    source = "assumed, unknown" if unknown and lens["source"] == "estimated" else lens["source"]
    unit = solve["world"]["unit"]
    return _table(
        [
            ("Focal length", f"{lens['fx']:.1f} px{doubt} ({source}), {lens['model']}, k1 {lens['k1']:.4f}"),
            ("Method", f"{depth['method']}, worked at {depth['work_width']}x{depth['work_height']}"),
            ("Prior", f"{depth['prior']} (licence: {depth['licence']})"),
            ("Depth range", f"{depth['near']:.2f} to {depth['far']:.2f}, unit: {unit}"),
            ("Scale", "metric" if solve["world"]["scale"] == "metric" else "arbitrary: set it from a known distance"),
        ]
    )


def _cost_table(made: dict[str, Any]) -> str:
    rows: list[Sequence[str]] = [
        (name, f"{cost['wall_s']:.1f} s", f"{cost['cpu_s']:.1f} CPU s", f"{cost['peak_memory_mb']:.0f} MB at most")
        for name, cost in made["stages"].items()
    ]
    rows.append(("device", made["device"]))
    return _table(rows) + (
        f"<p>{escape(', '.join(f'{name} {version}' for name, version in made['versions'].items()))}</p>"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str]) -> str:
        first, *others = (escape(cell) for cell in cells)
        last = f"<td class='meaning'>{others.pop()}" if len(others) > 1 else ""
        return f"<tr><th>{first}{''.join(f'<td>{cell}' for cell in others)}{last}"

    return f"<table>{''.join(row(cells) for cells in rows)}</table>"


def _picture(title: str, uri: str) -> str:
    return f"<figure><img alt='{escape(title)}' src='{uri}'><figcaption>{escape(title)}</figcaption></figure>"


def _frame(frame: dict[str, Any], pictures: Thumbnails, run: dict[str, Any] | None) -> str:
    error = frame["consistency_px"]
    note = f"{error:.2f} px against the flow" if error is not None else "no flow to compare with"
    if run is not None:
        alone = run["first"] == run["last"]
        span = "" if alone else f", the worst of frames {run['first']}-{run['last']}"
        note = f"doubtful{span}: {run['where']}, {REASONS[run['reason']]}; {note}"
    titles = (
        "plate",
        "depth, near is bright",
        "confidence, white is sure",
        "blue: guessed, red: moves by itself, yellow: doubtful",
    )
    shown = "".join(_picture(title, uri) for title, uri in zip(titles, pictures, strict=True))
    return f"<h3>Frame {frame['frame']}: {escape(note)}</h3><div class='small'>{shown}</div>"


def _share_plot(frames: list[dict[str, Any]], runs: Sequence[dict[str, Any]]) -> str:
    lines = {
        title: [(float(f["frame"]), 100.0 * f[name]) for f in frames if f.get(name) is not None]
        for title, name in (("measured", "confident_share"), ("expected to be right", "expected_share"))
    }
    spans = [(float(run["first"]), float(run["last"])) for run in runs]
    return plots.strip("Depth that can be relied on", "plate frame", "% of the picture", lines, spans)


def _frame_plot(title: str, unit: str, frames: list[dict[str, Any]], name: str, factor: float = 1.0) -> str:
    known = [(float(f["frame"]), factor * f[name]) for f in frames if f.get(name) is not None]
    return plots.curve(title, "plate frame", unit, known)


def _distance_plot(by_distance: dict[str, float]) -> str:
    points = sorted((float(distance), error) for distance, error in by_distance.items())
    return plots.curve(
        "Depth against optical flow, by distance: rising = drift", "frames apart", "px", points, joined=True
    )


def _scale_plot(scale_per_frame: Mapping[int, float]) -> str:
    if not scale_per_frame:
        return ""
    middle = sorted(scale_per_frame.values())[len(scale_per_frame) // 2]
    points = [(float(n), 100.0 * (s / middle - 1.0)) for n, s in sorted(scale_per_frame.items())]
    return plots.curve("Scale of the prior, frame by frame", "plate frame", "% off the clip's", points, from_zero=False)


def _camera_plot(frames: list[dict[str, Any]], unit: str) -> str:
    poses = [frame["world_from_camera"] for frame in frames if frame["world_from_camera"] is not None]
    points = [(float(pose[0][3]), float(pose[1][3])) for pose in poses]
    return plots.path("Camera path from above", f"x ({unit})", f"y ({unit})", points)


def _gaps(frames: list[dict[str, Any]]) -> str:
    lost = [frame for frame in frames if not frame["registered"]]
    if not lost:
        return "<p>Every frame has a camera.</p>"
    return "<h3>Frames without a camera</h3>" + _table([(str(f["frame"]), f["reason"] or "") for f in lost])
