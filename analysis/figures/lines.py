"""A metric against an axis of numbers, and against epochs."""

from __future__ import annotations

import itertools

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import common
from analysis.figures.common import COLUMN, begun, entry, finish, new_axes, ticks, under_legend
from analysis.figures.style import Size, style


def lines(
    summary: pd.DataFrame,
    x: str,
    x_label: str,
    y_label: str,
    smoke: bool = False,
    size: Size | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The mean against the axis `x`: a line per row of `summary`, the 95 % interval as error bars where there is one.

    Where there are bars, lines are shifted sideways a little, so that none covers another; ticks stand at the values of
    `x`.
    """
    summary = begun(summary, "row", x)
    rows, values = summary["row"].drop_duplicates().tolist(), ticks(summary[x])
    size = under_legend(size or COLUMN, rows)
    if ax is None:
        ax = new_axes(size)
    with matplotlib.rc_context(size.rc()):
        places = values if common.numeric(summary[x]) else list(range(len(values)))
        positions = dict(zip(values, places, strict=True))
        gap = min((right - left for left, right in itertools.pairwise(places)), default=1.0)
        shift = gap * min(0.09, 0.4 / len(rows)) if summary["ci_high"].notna().any() else 0.0
        for place, row in enumerate(rows):
            points = summary[summary["row"] == row]
            dodge = shift * (place - (len(rows) - 1) / 2)
            common.line(ax, points, [positions[value] + dodge for value in points[x]])
        ax.set_xticks(places, [str(value) for value in values])
        finish(ax, x_label, y_label, common.interval_note(summary), smoke, size)
    return ax


def curves(
    epochs: pd.DataFrame,
    x: str,
    x_label: str,
    y_label: str,
    smoke: bool = False,
    size: Size | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The mean after each epoch: a line per row, the 95 % interval as a band where there is one."""
    rows = epochs["row"].drop_duplicates().tolist()
    size = under_legend(size or COLUMN, rows)
    if ax is None:
        ax = new_axes(size)
    with matplotlib.rc_context(size.rc()):
        for row in rows:
            points = epochs[epochs["row"] == row].astype({x: float, "mean": float, "ci_low": float, "ci_high": float})
            look = style(points["operator"].iloc[0])
            ax.plot(
                points[x], points["mean"], label=entry(row), color=look.color, linestyle=look.linestyle,
                marker=look.marker, markersize=3.0 * size.scale, markevery=max(1, len(points) // 20),
                markerfacecolor="white" if look.hollow else look.color,
            )  # fmt: skip
            ax.fill_between(points[x], points["ci_low"], points["ci_high"], color=look.color, alpha=0.12, linewidth=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        finish(ax, x_label, y_label, common.interval_note(epochs, "Bands"), smoke, size)
    return ax
