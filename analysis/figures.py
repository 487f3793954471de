"""Figures of a sweep. Functions take a frame and optional axes, return the axes, and fetch nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from analysis import numbers
from analysis.style import PALETTE, RC, style
from lightning_xvol import files

COLUMN_INCHES = (3.5, 2.9)
PAGE_INCHES = 7.2
_MANY_BARS = 12
# Without dates and versions, the same numbers give the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def new_axes(legend_lines: int = 2, width: float = COLUMN_INCHES[0], height: float = COLUMN_INCHES[1]) -> Axes:
    """Axes of their own, as wide as the column of a paper, and higher where the legend has many lines."""
    with matplotlib.rc_context(RC):
        return Figure(figsize=(width, height + 0.15 * max(0, legend_lines - 2)), layout="constrained").subplots()


def lines(
    summary: pd.DataFrame, x: str, x_label: str, y_label: str, smoke: bool = False, ax: Axes | None = None
) -> Axes:
    """The mean against the axis `x`: a line per row of `summary`, the 95 % interval as error bars where there is one.

    Lines are shifted sideways a little, so that bars do not cover one another; the ticks stand at the values of `x`.
    """
    if ax is None:
        ax = new_axes()
    with matplotlib.rc_context(RC):
        ticks = _ticks(summary[x])
        places = ticks if _numeric(summary[x]) else list(range(len(ticks)))
        positions = dict(zip(ticks, places, strict=True))
        rows = summary["row"].drop_duplicates().tolist()
        shift = min(0.09, 0.4 / len(rows)) * min(
            (right - left for left, right in itertools.pairwise(places)), default=1.0
        )
        for place, row in enumerate(rows):
            points = summary[summary["row"] == row]
            dodge = shift * (place - (len(rows) - 1) / 2)
            _line(ax, points, [positions[value] + dodge for value in points[x]])
        ax.set_xticks(places, [str(tick) for tick in ticks])
        _finish(ax, summary, x_label, y_label, smoke)
    return ax


def scatter(
    summary: pd.DataFrame, x: str, x_label: str, y_label: str, smoke: bool = False, ax: Axes | None = None
) -> Axes:
    """The mean against what a run costs (the column `x`): a point per row, the 95 % interval as an error bar.

    The x axis is logarithmic where costs differ tenfold. A row without a finished run has no point.
    """
    if ax is None:
        ax = new_axes(legend_lines=-(-len(summary) // 2))
    with matplotlib.rc_context(RC):
        points = summary[summary["n"] > 0]
        for place in points.index:
            _line(ax, points.loc[[place]], [float(points.loc[place, x])], joined=False)
        if len(points) and points[x].max() > 10 * points[x].min():
            ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: numbers.count(round(value)))
        ax.xaxis.set_minor_formatter("")
        _finish(ax, summary, x_label, y_label, smoke)
    return ax


def bars(
    summary: pd.DataFrame, x: str, x_label: str, y_label: str, smoke: bool = False, ax: Axes | None = None
) -> Axes:
    """The mean where the axis is no number: a group of bars per value, a bar per row; controls are hollow."""
    ticks, rows = _ticks(summary[x]), summary["row"].drop_duplicates().tolist()
    if ax is None:
        ax = new_axes(width=PAGE_INCHES if len(ticks) * len(rows) > _MANY_BARS else COLUMN_INCHES[0])
    with matplotlib.rc_context(RC):
        width = 0.8 / len(rows)
        for place, row in enumerate(rows):
            points = summary[summary["row"] == row]
            look = style(points["operator"].iloc[0])
            at = [ticks.index(value) + width * (place - (len(rows) - 1) / 2) for value in points[x]]
            ax.bar(
                at, points["mean"], width=0.85 * width, label=row, color="white" if look.hollow else look.color,
                edgecolor=look.color, linewidth=0.9, linestyle=look.linestyle,
            )  # fmt: skip
            _interval(ax, at, points, "0.25")
        names = [str(tick).replace(" (", "\n(") for tick in ticks]
        ax.set_xticks(range(len(ticks)), names)
        two_lines = any("\n" in name for name in names)
        _finish(ax, summary, x_label, y_label, smoke, below=-42 if two_lines else -31, wide=True)
    return ax


def dots(
    summary: pd.DataFrame, x: str | None, x_label: str, y_label: str, smoke: bool = False, ax: Axes | None = None
) -> Axes:
    """A line of the figure per row and the mean across: where rows are many. An axis `x` has a marker per value."""
    rows = summary["row"].drop_duplicates().tolist()
    if ax is None:
        ax = new_axes(width=1.5 * COLUMN_INCHES[0], height=0.9 + 0.22 * len(rows))
    with matplotlib.rc_context(RC):
        values = [None] if x is None else _ticks(summary[x])
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
                _interval(ax, [rows.index(row) + shift], points.loc[[point]], color, across=True)
        ax.set_yticks(range(len(rows)), rows)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_xlabel(y_label)
        if "%" in y_label:
            low, high = ax.get_xlim()
            ax.set_xlim(max(low, -4.0), min(high, 104.0))
        ax.grid(axis="x", color="0.9", linewidth=0.6)
        ax.set_axisbelow(True)
        if x is not None:
            _legend(ax, columns=2)
        _note(ax, summary, below=-30)
        _smoke(ax, smoke)
    return ax


def curves(
    epochs: pd.DataFrame, x: str, x_label: str, y_label: str, smoke: bool = False, ax: Axes | None = None
) -> Axes:
    """The mean after each epoch: a line per row, the 95 % interval as a band where there is one."""
    if ax is None:
        ax = new_axes(legend_lines=3, width=1.4 * COLUMN_INCHES[0])
    with matplotlib.rc_context(RC):
        for row in epochs["row"].drop_duplicates():
            points = epochs[epochs["row"] == row].astype({x: float, "mean": float, "ci_low": float, "ci_high": float})
            look = style(points["operator"].iloc[0])
            ax.plot(
                points[x], points["mean"], color=look.color, marker=look.marker, linestyle=look.linestyle, label=row,
                markersize=3.0, markerfacecolor="white" if look.hollow else look.color,
                markevery=max(1, len(points) // 20),
            )  # fmt: skip
            ax.fill_between(points[x], points["ci_low"], points["ci_high"], color=look.color, alpha=0.12, linewidth=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        _finish(ax, epochs, x_label, y_label, smoke, shown="Bands", wide=True)
    return ax


def with_costs(
    summary: pd.DataFrame, x: str, x_label: str, y_label: str, smoke: bool = False, axes: Any = None
) -> Axes:
    """`lines` against the axis `x`, against parameters and against MACs, side by side.

    A row of panels for each value of the other axes, from the top down; `axes` is an array of as many rows and three
    columns. Returns its first.
    """
    # What `row` says beyond the operator's label: the values of the other axes.
    place = [
        row.removeprefix(label).removeprefix(", ") for row, label in zip(summary["row"], summary["label"], strict=True)
    ]
    places = list(dict.fromkeys(place))
    ticks = _ticks(summary[x])
    positions = dict(zip(ticks, ticks if _numeric(summary[x]) else range(len(ticks)), strict=True))
    columns = {x: x_label, "params": "parameters", "macs": "MACs per map"}
    if axes is None:
        width, height = COLUMN_INCHES
        with matplotlib.rc_context(RC):
            figure = Figure(figsize=(2 * width, 0.8 * height * len(places) + 0.6), layout="constrained")
            axes = figure.subplots(len(places), len(columns), sharey="row", squeeze=False)
    with matplotlib.rc_context(RC):
        for panels, name in zip(axes, places, strict=True):
            here = summary[[other == name for other in place]]
            for ax, (column, label) in zip(panels, columns.items(), strict=True):
                for _, points in here[here["n"] > 0].assign(row=here["label"]).groupby("operator", sort=False):
                    _line(ax, points, [positions[value] if column == x else value for value in points[column]])
                if column == x:
                    ax.set_xticks(list(positions.values()), list(map(str, positions)))
                else:
                    ax.set_xscale("log", subs=[])
                    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
                    ax.xaxis.set_major_formatter(lambda value, _: numbers.count(round(value)))
                    ax.xaxis.set_minor_formatter("")
                ax.set_xlabel(label)
                ax.grid(axis="y", color="0.9", linewidth=0.6)
                ax.set_axisbelow(True)
            panels[0].set_title(name, loc="left", fontsize=RC["font.size"])
        first: Axes = axes[0][0]
        whole: Any = first.get_figure(root=True)
        whole.legend(*first.get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False)
        whole.supylabel(y_label, fontsize=RC["axes.labelsize"])
        whole.supxlabel(error_bar_note(summary), fontsize=6.5, color="0.35")
        if smoke:
            whole.text(0.99, 0.99, "SMOKE", ha="right", va="top", color="0.5", fontweight="bold")
    return first


def _finish(
    ax: Axes,
    summary: pd.DataFrame,
    x_label: str,
    y_label: str,
    smoke: bool,
    below: int = -30,
    shown: str = "Error bars",
    wide: bool = False,
) -> None:
    """What most figures have: labels, a grid, the legend, and what the bars are."""
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    if "%" in y_label:
        _stay_near_percents(ax)
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    characters = summary["row"].drop_duplicates().map(len).sum()
    _legend(ax, columns=3 if wide or characters <= 32 else 2)
    _note(ax, summary, below, shown)
    _smoke(ax, smoke)


def _legend(ax: Axes, columns: int) -> None:
    """Above the data, where it covers none of it whatever the numbers."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, frameon=False, borderaxespad=0.1,
            columnspacing=1.5, handlelength=2.4,
        )  # fmt: skip


def _note(ax: Axes, summary: pd.DataFrame, below: int, shown: str = "Error bars") -> None:
    ax.annotate(
        error_bar_note(summary, shown), (0.5, 0.0), (0, below), xycoords="axes fraction", textcoords="offset points",
        ha="center", va="top", fontsize=6.5, color="0.35",
    )  # fmt: skip


def _smoke(ax: Axes, smoke: bool) -> None:
    if smoke:
        ax.text(0.98, 0.04, "SMOKE", transform=ax.transAxes, ha="right", color="0.5", fontsize=8, fontweight="bold")


def _line(ax: Axes, points: pd.DataFrame, positions: list[float], joined: bool = True) -> None:
    look = style(points["operator"].iloc[0])
    ax.plot(
        positions, points["mean"].to_numpy(), color=look.color, marker=look.marker,
        linestyle=look.linestyle if joined else "none",
        markerfacecolor="white" if look.hollow else look.color, label=points["row"].iloc[0],
    )  # fmt: skip
    _interval(ax, positions, points, look.color, zorder=1.9)


def _interval(
    ax: Axes, positions: list[float], points: pd.DataFrame, color: str, across: bool = False, zorder: float = 2.5
) -> None:
    """The 95 % intervals of `points` that have one, up and down or, `across`, to the left and right."""
    widths = (points["ci_high"] - points["mean"]).to_numpy(dtype=float)
    has_bar = ~np.isnan(widths)
    if not has_bar.any():
        return
    at, means, widths = np.asarray(positions)[has_bar], points["mean"].to_numpy()[has_bar], widths[has_bar]
    look: Any = {"ecolor": color, "elinewidth": 0.9, "capsize": 2, "capthick": 0.9, "zorder": zorder, "fmt": "none"}
    if across:
        ax.errorbar(means, at, xerr=widths, **look)
    else:
        ax.errorbar(at, means, yerr=widths, **look)


def error_bar_note(summary: pd.DataFrame, shown: str = "Error bars") -> str:
    """What the bars are, for caption or legend."""
    counts = sorted(summary.loc[summary["n"] > 0, "n"].unique())
    if not counts:
        return "no finished run"
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]}\N{EN DASH}{counts[-1]}"
    if counts[-1] == 1:
        return f"n = 1 seed, no {shown.lower()}"
    return f"{shown}: 95 % interval (Student's t), n = {n} seeds"


def _stay_near_percents(ax: Axes) -> None:
    """Bars may leave 0 to 100 %; the axis does not follow them far."""
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, -4.0), min(high, 104.0))


def _numeric(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values))


def _ticks(values: pd.Series) -> list[Any]:
    unique = values.drop_duplicates()
    return (unique.sort_values() if _numeric(values) else unique).tolist()


KINDS: dict[str, Callable[..., Axes]] = {
    "lines": lines,
    "scatter": scatter,
    "bars": bars,
    "dots": dots,
    "curves": curves,
    "with_costs": with_costs,
}


def write(ax: Axes, path: Path) -> None:
    """Save the figure of `ax` atomically, in the format of the suffix (pdf, png, svg)."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes belong to no figure")
    kind = path.suffix.removeprefix(".")
    with matplotlib.rc_context(RC):
        files.write_by(path, lambda file: figure.savefig(file, format=kind, metadata=_METADATA[kind]))
