"""A metric where what is compared is no number: groups of bars, or a line of the figure per row."""

from __future__ import annotations

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import common
from analysis.figures.common import COLUMN, PAGE, begun, entry, finish, interval, new_axes, ticks, under_legend
from analysis.figures.style import PALETTE, Size, style

_MANY_BARS = 12
_LONG_LABEL = 20  # characters


def bars(
    summary: pd.DataFrame,
    x: str,
    x_label: str,
    y_label: str,
    smoke: bool = False,
    size: Size | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The mean where the axis is no number: a group of bars per value, a bar per row; controls are hollow."""
    summary = begun(summary, "row", x)
    values, rows = ticks(summary[x]), summary["row"].drop_duplicates().tolist()
    size = under_legend(size or (PAGE if len(values) * len(rows) > _MANY_BARS else COLUMN), rows)
    if ax is None:
        ax = new_axes(size)
    with matplotlib.rc_context(size.rc()):
        width = 0.8 / len(rows)
        for place, row in enumerate(rows):
            points = summary[summary["row"] == row]
            look = style(points["operator"].iloc[0])
            at = [values.index(value) + width * (place - (len(rows) - 1) / 2) for value in points[x]]
            ax.bar(
                at, points["mean"], width=0.85 * width, label=entry(row), color="white" if look.hollow else look.color,
                edgecolor=look.color, linewidth=0.9, linestyle=look.linestyle,
            )  # fmt: skip
            interval(ax, at, points, "0.25")
        names = [str(value).replace(" (", "\n(") for value in values]
        ax.set_xticks(range(len(values)), names)
        two_lines = any("\n" in name for name in names)
        remark = common.interval_note(summary)
        finish(ax, x_label, y_label, remark, smoke, size, below=-42 if two_lines else -31)
    return ax


def dots(
    summary: pd.DataFrame,
    x: str | None,
    x_label: str,
    y_label: str,
    smoke: bool = False,
    size: Size | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A line of the figure per row and the mean across: where rows are many. An axis `x` has a marker per value."""
    summary = begun(summary, "row", *([] if x is None else [x]))
    rows = summary["row"].drop_duplicates().tolist()
    values = [None] if x is None else ticks(summary[x])
    size = for_rows(size, rows, legend_lines=0 if x is None else -(-len(values) // 3))
    if ax is None:
        ax = new_axes(size)
    with matplotlib.rc_context(size.rc()):
        for place, value in enumerate(values):
            points = summary if x is None else summary[summary[x] == value]
            shift = 0.16 * (place - (len(values) - 1) / 2)
            for row, point in zip(points["row"], points.index, strict=True):
                look = style(points.loc[point, "operator"])
                color = look.color if x is None else PALETTE[place % len(PALETTE)]
                ax.plot(
                    points.loc[point, "mean"], rows.index(row) + shift, color=color, linestyle="none",
                    marker=look.marker if x is None else "osD^v"[place % 5],
                    markerfacecolor="white" if look.hollow else color,
                    label=f"{x_label}: {value}" if x is not None and row == rows[0] else None,
                )  # fmt: skip
                interval(ax, [rows.index(row) + shift], points.loc[[point]], color, across=True)
        finish_rows(ax, rows, y_label, common.interval_note(summary), smoke, size)
    return ax


def for_rows(size: Size | None, rows: list[str], legend_lines: int = 0) -> Size:
    """As high as `rows` below one another need, and a page wide where their names are long."""
    size = size or (PAGE if max(map(len, rows)) > _LONG_LABEL else COLUMN)
    return size.with_height(0.9 + 0.22 * len(rows) + 0.15 * legend_lines)


def finish_rows(ax: Axes, rows: list[str], y_label: str, remark: str, smoke: bool, size: Size) -> None:
    """What figures with a row below the other have; the metric runs across."""
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel(y_label)
    if "%" in y_label:
        ax.set_xlim(*common.near_percents(ax.get_xlim()))
    common.grid(ax, "x")
    common.legend(ax, size, max(rows, key=len))
    common.note(ax, remark, size, below=-30, beside=max(rows, key=len))
    common.mark_smoke(ax, smoke)
