"""Plots with axes, ticks and labels as inline SVG: nothing to load, sharp at any size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 560, 230
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 30, 44  # room for labels, pixels
TICKS = 5
Point = tuple[float, float]


def curve(
    title: str, x_label: str, y_label: str, points: Sequence[Point], from_zero: bool = True, joined: bool = False
) -> str:
    """Points over x as dots, or as a line with dots; "" when there are fewer than two.

    Args:
        points: (x, y) in order of x.
        from_zero: the y axis starts at zero, so that heights can be compared.
        joined: draw a line through them.
    """
    if len(points) < 2:
        return ""
    (x_low, x_high), (y_low, y_high) = (_span([p[axis] for p in points]) for axis in (0, 1))
    if from_zero:
        y_low = min(0.0, y_low)
    return _plot(title, x_label, y_label, points, (x_low, x_high, y_low, y_high), joined)


def strip(
    title: str, x_label: str, y_label: str, lines: Mapping[str, Sequence[Point]], marked: Sequence[Point] = ()
) -> str:
    """Several lines over x between 0 and 100, each named; "" when the first has fewer than two points.

    Args:
        lines: name -> (x, y) in order of x; the first is drawn as in `curve`.
        marked: (first x, last x) of spans to shade.
    """
    named = [Line(name, number, points) for number, (name, points) in enumerate(lines.items())]
    first = named[0].points
    if len(first) < 2:
        return ""
    low, high = _span([x for x, _ in first])
    return _plot(title, x_label, y_label, first, (low, high, 0.0, 100.0), joined=True, lines=named, marked=marked)


class Line(NamedTuple):
    """A line of a strip plot: its name, its place among the others, its points."""

    name: str
    number: int
    points: Sequence[Point]


def path(title: str, x_label: str, y_label: str, points: Sequence[Point]) -> str:
    """A path in a plane with the same scale on both axes and its start marked; "" when there are fewer than two."""
    if len(points) < 2:
        return ""
    middle = [(min(p[axis] for p in points) + max(p[axis] for p in points)) / 2.0 for axis in (0, 1)]
    size = [max(p[axis] for p in points) - min(p[axis] for p in points) for axis in (0, 1)]
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    unit = 1.1 * max(size[0] / inner_width, size[1] / inner_height, 1e-9) / 2.0
    limits = (
        middle[0] - unit * inner_width,
        middle[0] + unit * inner_width,
        middle[1] - unit * inner_height,
        middle[1] + unit * inner_height,
    )
    return _plot(title, x_label, y_label, points, limits, joined=True, start="start")


def ticks(low: float, high: float, count: int = TICKS) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    rough = max(high - low, 1e-12) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * power for unit in (1.0, 2.0, 5.0, 10.0) if unit * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


def _span(values: Sequence[float]) -> Point:
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(abs(high), 1e-9):
        return low - max(abs(low), 1.0) * 0.01, high + max(abs(high), 1.0) * 0.01
    return low, high


def _plot(
    title: str,
    x_label: str,
    y_label: str,
    points: Sequence[Point],
    limits: tuple[float, float, float, float],
    joined: bool,
    start: str | None = None,
    lines: Sequence[Line] = (),
    marked: Sequence[Point] = (),
) -> str:
    x_low, x_high, y_low, y_high = limits
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> Point:
        return (
            LEFT + (x - x_low) / (x_high - x_low) * inner_width,
            TOP + inner_height - (y - y_low) / (y_high - y_low) * inner_height,
        )

    parts = [f"<text class='title' x='{LEFT}' y='18'>{escape(title)}</text>"]
    for first, last in marked:
        (left, top), (right, bottom) = place(max(first - 0.5, x_low), y_high), place(min(last + 0.5, x_high), y_low)
        parts.append(
            f"<rect class='doubtful' x='{left:.1f}' y='{top:.1f}' width='{max(right - left, 2.0):.1f}' "
            f"height='{bottom - top:.1f}'><title>doubtful: {_number(first)} to {_number(last)}</title></rect>"
        )
    for value in ticks(x_low, x_high):
        x, y = place(value, y_low)
        parts.append(f"<line class='grid' x1='{x:.1f}' y1='{TOP}' x2='{x:.1f}' y2='{y:.1f}'/>")
        parts.append(f"<text class='tick' text-anchor='middle' x='{x:.1f}' y='{y + 15:.1f}'>{_number(value)}</text>")
    for value in ticks(y_low, y_high, 4):
        x, y = place(x_low, value)
        parts.append(f"<line class='grid' x1='{x:.1f}' y1='{y:.1f}' x2='{WIDTH - RIGHT}' y2='{y:.1f}'/>")
        parts.append(f"<text class='tick' text-anchor='end' x='{x - 6:.1f}' y='{y + 4:.1f}'>{_number(value)}</text>")
    parts.append(
        f"<path class='axis' d='M{LEFT} {TOP}V{TOP + inner_height}H{WIDTH - RIGHT}'/>"
        f"<text class='label' text-anchor='middle' x='{LEFT + inner_width / 2:.0f}' y='{HEIGHT - 8}'>"
        f"{escape(x_label)}</text>"
        f"<text class='label' text-anchor='middle' transform='translate(14 {TOP + inner_height / 2:.0f}) rotate(-90)'>"
        f"{escape(y_label)}</text>"
    )
    for line in lines:
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line.points))
        parts.append(f"<polyline class='line line{line.number}' points='{drawn}'/>")
        x = WIDTH - RIGHT - 170 * (len(lines) - line.number)
        parts.append(f"<text class='name name{line.number}' x='{x}' y='18'>{escape(line.name)}</text>")
    placed = [] if lines else [place(*point) for point in points]
    if joined and placed:
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f"<polyline class='line' points='{drawn}'/>")
    for (x, y), (a, b) in zip(placed, points, strict=False):
        parts.append(
            f"<circle class='dot' r='2.2' cx='{x:.1f}' cy='{y:.1f}'><title>{_number(a)}: {_number(b)}</title></circle>"
        )
    if start is not None:
        x, y = placed[0]
        parts.append(f"<circle class='start' r='5' cx='{x:.1f}' cy='{y:.1f}'/>")
        parts.append(f"<text class='tick' x='{x + 8:.1f}' y='{y - 6:.1f}'>{escape(start)}</text>")
    return (
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' height='{HEIGHT}' role='img' "
        f"aria-label='{escape(title)}'>{''.join(parts)}</svg>"
    )


def _number(value: float) -> str:
    return f"{value + 0.0:.6g}"
