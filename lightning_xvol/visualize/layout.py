"""Draws boxes in series and in parallel, from top to bottom. Lengths are in inches, so that boxes fit their text."""

from __future__ import annotations

import re
from typing import Any

from lightning_xvol.visualize import style
from lightning_xvol.visualize.structure import Box, Part, Series

LINE = 0.125  # height of a line of text
CHARACTER = 0.051  # mean width
PADDING = 0.07
GAP = 0.13  # between boxes, with the arrow
APART = 0.18  # between branches
JOIN = 0.11  # radius of the circle where branches join
BYPASS = 0.24  # width of a branch without boxes

FILL = {"convolution": "#d4e6f3", "norm": "0.93", "attention": "#f8dcc8", "operator": "#f2b48a", "plain": "white"}
EDGE = {"convolution": style.BLUE, "norm": "0.45", "attention": style.VERMILLION, "operator": style.VERMILLION}


def size(part: Part) -> tuple[float, float]:
    """Width and height of `part`."""
    if isinstance(part, Box):
        lines = part.text.split("\n")
        return CHARACTER * max(map(_length, lines)) + 2 * PADDING, LINE * len(lines) + 2 * PADDING
    sizes = [size(inner) for inner in part.parts]
    if isinstance(part, Series):
        if not sizes:
            return BYPASS, 0.0
        return max(width for width, _ in sizes), sum(height for _, height in sizes) + GAP * (len(sizes) - 1)
    width = sum(width for width, _ in sizes) + APART * (len(sizes) - 1)
    return width, max(height for _, height in sizes) + 2 * GAP + 2 * JOIN


def draw(ax: Any, part: Part, x: float, top: float) -> float:
    """Draw `part` into `ax` with its input at (`x`, `top`), and return y of its output, which is straight below."""
    if isinstance(part, Box):
        return _box(ax, part, x, top)
    if isinstance(part, Series):
        y = top
        for number, inner in enumerate(part.parts):
            if number:
                _arrow(ax, (x, y), (x, y - GAP))
                y -= GAP
            y = draw(ax, inner, x, y)
        return y
    width, height = size(part)
    bottom = top - height
    middle = bottom + JOIN
    centres, left = [], x - width / 2
    for inner in part.parts:
        own = size(inner)[0]
        centres.append(left + own / 2)
        left += own + APART
    _line(ax, [(min(centres), top), (max(centres), top)])
    for inner, centre in zip(part.parts, centres, strict=True):
        entry = top - GAP
        if size(inner)[1]:
            _arrow(ax, (centre, top), (centre, entry))
        else:
            _line(ax, [(centre, top), (centre, entry)])
        leaves = draw(ax, inner, centre, entry)
        _line(ax, [(centre, leaves), (centre, middle)])
        _arrow(ax, (centre, middle), (x + (JOIN if centre > x else -JOIN), middle))
    _join(ax, part.join, x, middle)
    return bottom


def caption_arrow(ax: Any, x: float, top: float, text: str, below: bool = False) -> None:
    """The arrow into a diagram at `top`, or out of it if `below`, with `text` at its end."""
    _arrow(ax, (x, top + (0 if below else GAP)), (x, top - (GAP if below else 0)))
    y = top - GAP - 0.02 if below else top + GAP + 0.02
    ax.text(x, y, text, ha="center", va="top" if below else "bottom")


def _box(ax: Any, box: Box, x: float, top: float) -> float:
    from matplotlib.patches import FancyBboxPatch

    width, height = size(box)
    corner = (x - width / 2, top - height)
    look: Any = {"facecolor": FILL[box.kind], "edgecolor": EDGE.get(box.kind, "0.45"), "linewidth": 0.7}
    ax.add_patch(FancyBboxPatch(corner, width, height, boxstyle="round,pad=0,rounding_size=0.04", **look))
    ax.text(x, top - height / 2, box.text, ha="center", va="center", linespacing=1.15)
    return top - height


def _join(ax: Any, text: str, x: float, y: float) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch

    look: Any = {"facecolor": "white", "edgecolor": "0.2", "linewidth": 0.7, "zorder": 3}
    if _length(text) > 3:
        width = CHARACTER * _length(text) + PADDING
        corner = (x - width / 2, y - JOIN)
        ax.add_patch(FancyBboxPatch(corner, width, 2 * JOIN, boxstyle="round,pad=0,rounding_size=0.1", **look))
    else:
        ax.add_patch(Circle((x, y), JOIN, **look))
    ax.text(x, y, text, ha="center", va="center", zorder=4)


def _line(ax: Any, points: list[tuple[float, float]]) -> None:
    ax.plot(*zip(*points, strict=True), color="0.2", linewidth=0.7, solid_capstyle="round", zorder=1)


def _arrow(ax: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    look: Any = {"arrowstyle": "-|>", "color": "0.2", "linewidth": 0.7, "mutation_scale": 5, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=look, zorder=2)


def _length(text: str) -> int:
    """Length of `text` in characters. Text between dollars is mathematics, where a command is one character."""
    return len(re.sub(r"\\[a-z]+|[$_{}]", lambda found: "m" if found[0].startswith("\\") else "", text))
