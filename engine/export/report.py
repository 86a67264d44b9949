"""`report.html`: one self-contained page with pictures and plots, worst frames first."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from engine import files

SHOWN = 6
PLOT_WIDTH, PLOT_HEIGHT = 720, 120
FIGURES = {
    "registered_share": ("Frames with a camera", "{:.0%}"),
    "reprojection_px": ("Reprojection of the sparse points, median", "{:.2f} px"),
    "consistency_px": ("Depth against optical flow, median", "{:.2f} px"),
    "confident_share": ("Decided by geometry rather than by the network", "{:.0%}"),
    "instability_pct": ("Instability: step of a static point from frame to frame", "{:.2f} % of its depth"),
    "drift_pct": ("Drift: spread of a static point over its track", "{:.2f} % of its depth"),
}
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse}td,th{padding:.2rem 1rem .2rem 0;text-align:left;vertical-align:top}
figure{display:inline-block;margin:.3rem .6rem .3rem 0}figcaption{font-size:13px;color:#555}
img{display:block;max-width:24rem}
.warning{color:#a33b00}svg{background:#f6f6f6}
"""


class Thumbnails(NamedTuple):
    """Pictures of a frame as data URIs."""

    plate: str
    depth: str
    confidence: str


def frames_to_show(frames: Sequence[int], consistency: dict[int, float]) -> list[int]:
    """The worst frames by consistency, worst first, then the first, middle and last of the clip."""
    worst = sorted((f for f in frames if f in consistency), key=lambda f: -consistency[f])[: SHOWN // 2]
    spread = [frames[0], frames[len(frames) // 2], frames[-1]]
    return list(dict.fromkeys([*worst, *spread]))


def write_report(path: Path, solve: dict[str, Any], thumbnails: dict[int, Thumbnails]) -> None:
    """Write the page for a `solve.json` document; `thumbnails` by plate frame number."""
    frames = solve["frames"]
    name = path.parent.name
    order = sorted(thumbnails, key=lambda n: -(_of(frames, n)["consistency_px"] or 0.0))
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(name)}: solve report</title>",
        f"<style>{STYLE}</style><h1>{escape(name)}</h1><p>{escape(solve['quality']['verdict'])}</p>",
        *(f"<p class='warning'>Warning: {escape(text)}</p>" for text in solve["quality"]["warnings"]),
        "<h2>Quality</h2>",
        _quality_table(solve),
        "<h2>Worst frames first</h2>",
        *(_pictures(_of(frames, number), thumbnails[number]) for number in order),
        "<h2>Frame by frame</h2>",
        _plot("Depth against optical flow, px", frames, "consistency_px"),
        _plot("Reprojection of the sparse points, px", frames, "reprojection_px"),
        _gaps(frames),
        "<h2>Cost</h2>",
        _cost_table(solve["engine"]),
        "</html>",
    ]
    files.write_text(path, "\n".join(parts) + "\n")


def _of(frames: list[dict[str, Any]], number: int) -> dict[str, Any]:
    return next(frame for frame in frames if frame["frame"] == number)


def _quality_table(solve: dict[str, Any]) -> str:
    lens, depth = solve["lens"], solve["depth"]
    doubt = f" ± {lens['uncertainty_pct']:.1f} %" if lens["uncertainty_pct"] is not None else ""
    rows = [
        (title, form.format(solve["quality"][name]))
        for name, (title, form) in FIGURES.items()
        if solve["quality"].get(name) is not None
    ]
    rows.append(
        ("Focal length", f"{lens['fx']:.1f} px{doubt} ({lens['source']}), {lens['model']}, k1 {lens['k1']:.4f}")
    )
    rows.append(("Depth", f"{depth['method']}, prior: {depth['prior']} ({depth['licence']})"))
    rows.append(("Depth range", f"{depth['near']:.2f} to {depth['far']:.2f} scene units"))
    return _table(rows)


def _cost_table(made: dict[str, Any]) -> str:
    rows = [
        (name, f"{cost['wall_s']:.1f} s, {cost['cpu_s']:.1f} CPU s, {cost['peak_memory_mb']:.0f} MB at most")
        for name, cost in made["stages"].items()
    ]
    rows.append(("device", made["device"]))
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in made["versions"].items())))
    return _table(rows)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "<table>" + "".join(f"<tr><th>{escape(a)}<td>{escape(b)}" for a, b in rows) + "</table>"


def _pictures(frame: dict[str, Any], pictures: Thumbnails) -> str:
    error = frame["consistency_px"]
    note = f"{error:.2f} px against the flow" if error is not None else "no flow to compare with"
    images = zip(("plate", "depth, near is bright", "confidence, white is geometry"), pictures, strict=True)
    shown = "".join(
        f"<figure><img alt='{escape(title)}' src='{uri}'><figcaption>{escape(title)}</figcaption></figure>"
        for title, uri in images
    )
    return f"<h3>Frame {frame['frame']}: {escape(note)}</h3>{shown}"


def _plot(title: str, frames: list[dict[str, Any]], name: str) -> str:
    known = [(frame["frame"], frame[name]) for frame in frames if frame[name] is not None]
    if len(known) < 2:
        return ""
    first, last = known[0][0], known[-1][0]
    top = max([value for _, value in known] + [1e-6])
    dots = []
    for number, value in known:
        x = (number - first) / (last - first) * (PLOT_WIDTH - 20) + 10
        y = PLOT_HEIGHT - 8 - value / top * (PLOT_HEIGHT - 20)
        dots.append(f"<circle r='2' cx='{x:.1f}' cy='{y:.1f}'><title>frame {number}: {value:.2f}</title></circle>")
    caption = f"{title}: frames {first} to {last}, highest {top:.2f}"
    return (
        f"<figure><svg width='{PLOT_WIDTH}' height='{PLOT_HEIGHT}' role='img'>{''.join(dots)}</svg>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _gaps(frames: list[dict[str, Any]]) -> str:
    lost = [frame for frame in frames if not frame["registered"]]
    if not lost:
        return "<p>Every frame has a camera.</p>"
    return "<h3>Frames without a camera</h3>" + _table([(str(f["frame"]), f["reason"] or "") for f in lost])
