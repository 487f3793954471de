"""The names of points beside the points, instead of a legend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from analysis.figures import marks, text
from analysis.figures.style import Size
from analysis.statistics import FEWEST_SEEDS

_APART = 5.5  # points between the middles of two points of almost equal cost
_MARK = 3.5  # points from the middle of a marker to its edge
_BAR = 1.6  # points from the middle of an interval to its edge
_HEIGHT = 1.1  # the height of a line of text, in sizes of its font
_DISTANCES = (6.0, 9.0, 13.0, 18.0, 24.0, 32.0, 42.0, 54.0, 68.0)
_ANGLES = (0, 180, 90, 270, 35, 145, 325, 215, 60, 120, 300, 240, 15, 165, 345, 195)
_LEADER = 8.0  # from this distance on, a line leads from the name to its point
_MOST = 25
"""More points have a legend."""
_ACROSS_A_BAR = 25.0  # points of distance that a name goes to keep off an interval


def apart(ax: Axes, costs: pd.Series) -> list[float]:
    """The shift of each of `costs` along the axis in points, so that almost equal costs do not cover one another."""
    at = _across(ax, costs)
    order = np.argsort(at, kind="stable")
    placed = at.copy()
    groups = [[place] for place in order]
    while True:  # neighbours that touch are spread around their middle, and may then touch others
        spans = [_span(at[group]) for group in groups]
        touching = next(
            (i for i, (left, right) in enumerate(itertools.pairwise(spans)) if right[0] - left[1] < _APART), None
        )
        if touching is None:
            break
        groups[touching : touching + 2] = [groups[touching] + groups[touching + 1]]
    for group, (left, _) in zip(groups, spans, strict=True):
        placed[group] = left + _APART * np.arange(len(group))
    return list(placed - at)


def _span(at: np.ndarray) -> tuple[float, float]:
    """The ends of a group of points that stand next to each other, in points."""
    half = _APART * (len(at) - 1) / 2
    return float(at.mean()) - half, float(at.mean()) + half


def _across(ax: Axes, costs: pd.Series) -> np.ndarray:
    """The horizontal places of `costs` in the figure, in points."""
    _lay_out(ax)
    both = np.column_stack([costs, np.full(len(costs), ax.get_ylim()[0])])
    return ax.transData.transform(both)[:, 0] * _points(ax) if len(both) else np.zeros(0)


def _lay_out(ax: Axes) -> None:
    figure: Any = ax.get_figure(root=True)
    figure.draw_without_rendering()


def _points(ax: Axes) -> float:
    """The points of a pixel."""
    figure: Any = ax.get_figure(root=True)
    return 72.0 / float(figure.dpi)


def name(ax: Axes, points: pd.DataFrame, costs: pd.Series, shifts: Sequence[float], size: Size) -> bool:
    """Write the name of each row beside its point. Where there is no room for all of them, write none.

    Returns:
        Whether the names were written.
    """
    if len(points) > _MOST:
        return False
    _lay_out(ax)
    middles = _middles(ax, points, costs, shifts)
    bars = _bars(ax, points, middles)
    font = size.rc()["legend.fontsize"]
    widths = [text.width(row, font, size.style) for row in points["row"]]
    boxes = _places(middles, bars, widths, _HEIGHT * font, _inside(ax))
    if boxes is None:
        return False
    for place, (x, y, box) in enumerate(zip(middles[:, 0], middles[:, 1], boxes, strict=True)):
        _write(ax, points.loc[[place]], float(costs[place]), shifts[place], (x, y), box, font)
    return True


def _middles(ax: Axes, points: pd.DataFrame, costs: pd.Series, shifts: Sequence[float]) -> np.ndarray:
    """The middle of each marker in points from the lower left corner of the figure: [T, 2]."""
    low, high = ax.get_ylim()
    both = np.column_stack([costs, np.clip(points["mean"].astype(float), low, high)])
    return ax.transData.transform(both) * _points(ax) + np.column_stack([shifts, np.zeros(len(both))])


def _bars(ax: Axes, points: pd.DataFrame, middles: np.ndarray) -> list[Bbox]:
    """The boxes of the intervals, and of dots, in points."""
    found = []
    for (x, _), mean in zip(middles, points.to_dict("records"), strict=True):
        ends = [*mean["runs"], *((mean["ci_low"], mean["ci_high"]) if mean["n"] >= FEWEST_SEEDS else ())]
        if len(ends) > 1:
            ends = np.clip([min(ends), max(ends)], *ax.get_ylim())
            low, high = (ax.transData.transform((ax.get_xlim()[0], end))[1] * _points(ax) for end in ends)
            found.append(Bbox.from_extents(x - _BAR, low, x + _BAR, high))
    return found


def _inside(ax: Axes) -> Bbox:
    box = ax.get_window_extent()
    return Bbox(box.get_points() * _points(ax))


def _places(
    middles: np.ndarray, bars: Sequence[Bbox], widths: Sequence[float], height: float, inside: Bbox
) -> list[Bbox] | None:
    """A box for each name, which covers neither a marker nor another name; None if some name has no such box.

    The names with the most neighbours come first. Each takes the nearest free box. A box that covers an interval counts
    as further away.
    """
    markers = [Bbox.from_extents(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in middles]
    crowd = [int((np.hypot(*(middles - middle).T) < 40).sum()) for middle in middles]
    found: dict[int, Bbox] = {}
    leaders: list[np.ndarray] = []
    for place in sorted(range(len(middles)), key=lambda place: (-crowd[place], place)):
        best, least, line = None, math.inf, None
        for box, distance in _candidates(middles[place], widths[place], height):
            cost = distance + _ACROSS_A_BAR * sum(box.overlaps(bar) for bar in bars)
            if cost >= least or not (
                inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 <= box.y1 <= inside.y1
            ):
                continue
            others = [marker for number, marker in enumerate(markers) if number != place]
            if box.count_overlaps([*markers, *found.values()]):
                continue
            leader = _leader(middles[place], box, distance)
            if any(
                other.containsx(x) and other.containsy(y) for x, y in leader for other in (*others, *found.values())
            ):
                continue
            if any(box.containsx(x) and box.containsy(y) for other in leaders for x, y in other):
                continue
            best, least, line = box, cost, leader
        if best is None or line is None:
            return None
        found[place] = best
        leaders.append(line)
    return [found[place] for place in range(len(middles))]


def _candidates(middle: np.ndarray, width: float, height: float) -> Iterator[tuple[Bbox, float]]:
    """Boxes around a point, with their distance from it."""
    for distance, degrees in itertools.product(_DISTANCES, _ANGLES):
        angle = math.radians(degrees)
        x, y = middle + distance * np.array([math.cos(angle), math.sin(angle)])
        left = x - width / 2 * (1 - _sign(math.cos(angle)))
        low = y - height / 2 * (1 - _sign(math.sin(angle)) * abs(math.sin(angle)))
        yield Bbox.from_bounds(left, low, width, height), distance


def _sign(value: float) -> int:
    return 0 if abs(value) < 1e-6 else int(math.copysign(1, value))


def _leader(middle: np.ndarray, box: Bbox, distance: float) -> np.ndarray:
    """Places along the line from a point to its name: [S, 2]; none where the name stands at its point."""
    if distance < _LEADER:
        return np.zeros((0, 2))
    end = np.clip(middle, box.min, box.max)
    length = float(np.hypot(*(end - middle)))
    steps = np.arange(_MARK, length, 1.0)[:, None] / max(length, 1e-9)
    return middle + steps * (end - middle)


def _write(
    ax: Axes, point: pd.DataFrame, cost: float, shift: float, middle: tuple[float, float], box: Bbox, font: float
) -> None:
    low, high = ax.get_ylim()
    at = (cost, float(np.clip(point["mean"].iloc[0], low, high)))
    place = marks.aside(ax, shift)
    offset = (box.x0 - middle[0], (box.y0 + box.y1) / 2 - middle[1])
    end = np.clip(middle, box.min, box.max) - np.asarray(middle)
    if float(np.hypot(*end)) >= _LEADER - 1:
        ax.annotate(
            "", at, tuple(end), xycoords=place, textcoords="offset points", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": marks.look_of(point).color, "linewidth": 0.5, "shrinkA": 0,
                        "shrinkB": _MARK - 1},
        ).set_in_layout(False)  # fmt: skip
    ax.annotate(
        point["row"].iloc[0], at, offset, xycoords=place, textcoords="offset points", fontsize=font, color="0.15",
        ha="left", va="center", annotation_clip=False,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.2},
    ).set_in_layout(False)  # fmt: skip
