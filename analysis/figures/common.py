"""Parts that the figures share: axes of a size, positions, intervals, legends and notes."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from analysis.figures.chart import Chart
from analysis.figures.style import SIZES, Size, style
from analysis.statistics import FEWEST_SEEDS
from lightning_xvol.visualize.style import settings

COLUMN, PAGE = SIZES["column"], SIZES["page"]
PERCENTS = (-4.0, 104.0)  # the outermost ends of an axis in percent
MANY_SEEDS = 5  # from here on, single runs are faint beside their interval
_NOTE_POINTS = 6.5
_ASIDE = 4.5  # points between a mean and its runs
# The width of a character of DejaVu Sans, in ems.
_CHARACTER = 0.58  # more than the average
_IN_PROSE = 0.47  # the average in a sentence
_ON_AN_AXIS = 0.54  # the average in the name of a metric with its unit
_HANDLE = 4.7  # ems that a legend needs beside the text of each row


@contextlib.contextmanager
def drawing(size: Size, ax: Axes | None) -> Iterator[Axes]:
    """Give `ax`, or the axes of a new figure. Until the block ends, matplotlib's defaults suit `size`."""
    with settings(size.rc()):
        yield _new_figure(size).subplots() if ax is None else ax


@contextlib.contextmanager
def drawing_panels(size: Size, axes: Any, rows: int, columns: int, **options: Any) -> Iterator[np.ndarray]:
    """As `drawing`, but give the array `axes`, or an array of `rows` x `columns` axes of a new figure."""
    with settings(size.rc()):
        if axes is None:
            axes = _new_figure(size).subplots(rows, columns, squeeze=False, **options)
        yield np.asarray(axes)


def _new_figure(size: Size) -> Figure:
    return Figure(figsize=(size.width, size.height), layout="constrained")


def first_panels(axes: np.ndarray, number: int) -> list[Axes]:
    """The first `number` panels of `axes`. The others become invisible."""
    panels: list[Axes] = list(axes.flat)
    for ax in panels[number:]:
        ax.set_visible(False)
    return panels[:number]


def under_legend(size: Size, labels: Sequence[str]) -> Size:
    """`size`, with more height where the legend of `labels` takes many lines."""
    lines = -(-len(labels) // legend_columns(labels, size))
    return size.with_height(max(size.height / size.scale, 2.4 + 0.15 * lines))


def legend_columns(labels: Sequence[str], size: Size) -> int:
    """The number of columns of a legend that fit the width of the figure."""
    longest = max(map(len, labels), default=1)
    width = (_CHARACTER * longest + _HANDLE) * size.rc()["legend.fontsize"]
    return max(1, min(len(labels), int(72 * size.width / width)))


def with_finished_runs(chart: Chart) -> pd.DataFrame:
    """The rows and the values of `x` that have a finished run. If no run has finished: all of them."""
    summary = chart.data
    finished = summary[summary["n"] > 0]
    if len(finished):
        for column in ("row", *([] if chart.x is None else [chart.x])):
            summary = summary[summary[column].isin(finished[column])]
    return summary


def row_names(data: pd.DataFrame) -> list[str]:
    """The rows in the order of the table."""
    return list(data["row"].drop_duplicates())


def values_along(column: pd.Series) -> list[Any]:
    """The values of a column, each once: numbers ascend, and other values keep their order."""
    values = column.drop_duplicates()
    return (values.sort_values() if _is_numeric(column) else values).tolist()


def positions_along(column: pd.Series) -> dict[Any, float]:
    """The position of each value of a column on an axis: a number is its own position, others are evenly spaced."""
    values = values_along(column)
    return dict(zip(values, values if _is_numeric(column) else range(len(values)), strict=True))


def _is_numeric(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def line(ax: Axes, points: pd.DataFrame, positions: Sequence[float], joined: bool = True) -> None:
    """The means of one row at `positions`, with their runs and intervals. Two runs stand without a mean."""
    look = style(points["operator"].iloc[0])
    ax.plot(
        positions, points["mean"].to_numpy(), color=look.color, marker=look.marker,
        linestyle=look.linestyle if joined else "none", markerfacecolor=look.fill,
        label=legend_label(points["row"].iloc[0]), markevery=_with_a_mean(points),
    )  # fmt: skip
    interval(ax, positions, points, look.color, zorder=1.9)
    single_runs(ax, positions, points, look.color)


def _with_a_mean(points: pd.DataFrame) -> list[int]:
    """The places of those points whose mean is marked."""
    return [place for place, n in enumerate(points["n"]) if n != FEWEST_SEEDS - 1]


def interval(
    ax: Axes, positions: Sequence[float], points: pd.DataFrame, color: str, across: bool = False, zorder: float = 2.5
) -> None:
    """The 95 % intervals of those `points` that have three runs or more: vertical, or horizontal if `across`."""
    has_bar = (points["n"] >= FEWEST_SEEDS).to_numpy(dtype=bool)
    if not has_bar.any():
        return
    low, mean, high = (points[name].to_numpy(dtype=float)[has_bar] for name in ("ci_low", "mean", "ci_high"))
    at, widths = np.asarray(positions)[has_bar], np.stack([mean - low, high - mean])
    look: Any = {"ecolor": color, "elinewidth": 0.9, "capsize": 2, "capthick": 0.9, "zorder": zorder, "fmt": "none"}
    if across:
        ax.errorbar(mean, at, xerr=widths, **look)
    else:
        ax.errorbar(at, mean, yerr=widths, **look)


def single_runs(ax: Axes, positions: Sequence[float], points: pd.DataFrame, color: str, across: bool = False) -> None:
    """A dot for each run of those `points` that have several, beside their mean if it is shown; faint if many."""
    for at, n, runs in zip(positions, points["n"], points["runs"], strict=True):
        if n < FEWEST_SEEDS - 1:
            continue
        look: Any = {"color": color, "marker": ".", "linestyle": "none", "zorder": 2.2, "label": "_runs"}
        look |= {"markersize": 4.0, "alpha": 0.9 if n < MANY_SEEDS else 0.4, "markeredgewidth": 0}
        if n == FEWEST_SEEDS - 1:
            look |= {"markersize": 5.0}
        else:
            aside = (0.0, _ASIDE / 72) if across else (-_ASIDE / 72, 0.0)
            look |= {"transform": ax.transData + ScaledTranslation(*aside, ax.figure.dpi_scale_trans)}
        ax.plot(*((list(runs), [at] * n) if across else ([at] * n, list(runs))), **look)


def finish(ax: Axes, chart: Chart, size: Size, remark: str, below: float = -30) -> None:
    """Add what most figures have: labels, a grid, the legend, and a remark that explains the bars."""
    ax.set_xlabel(chart.x_label)
    ax.set_ylabel(_upright(chart.y_label, size.height - 0.3 * size.scale, size))
    stay_near_percents(ax, chart)
    grid(ax, "y")
    legend(ax, size)
    note(ax, remark, size, below)
    mark_smoke(ax, chart)


def grid(ax: Axes, axis: Any) -> None:
    ax.grid(axis=axis, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


def stay_near_percents(ax: Axes, chart: Chart, across: bool = False) -> None:
    """End the axis of a metric in percent near 0 and 100, although error bars may reach further."""
    if "%" in chart.y_label:
        low, high = ax.get_xlim() if across else ax.get_ylim()
        set_limits = ax.set_xlim if across else ax.set_ylim
        set_limits(max(low, PERCENTS[0]), min(high, PERCENTS[1]))


def legend_label(row: str) -> str:
    """`row` as a label of the legend. A space protects `_name`, because matplotlib hides labels with an underscore."""
    return f" {row}" if row.startswith("_") else row


def legend_handles(ax: Axes) -> dict[str, Any]:
    """The handles of the legend by the name of their row."""
    handles, labels = ax.get_legend_handles_labels()
    return {label.removeprefix(" "): handle for label, handle in zip(labels, handles, strict=True)}


def legend(ax: Axes, size: Size, beside: str = "") -> None:
    """Put the legend above the axes, where it covers no data, and above the tick labels to their left.

    Args:
        ax: The axes.
        size: The size of the figure.
        beside: The longest of the tick labels.
    """
    handles = legend_handles(ax)
    if handles:
        figure: Any = ax.get_figure(root=True)
        taken = _IN_PROSE * len(beside) * size.rc()["ytick.labelsize"] / 72
        ax.legend(
            handles.values(), handles.keys(), loc="lower left", frameon=False, bbox_to_anchor=(-0.02, 1.0),
            bbox_transform=ax.transAxes + ScaledTranslation(-taken, 0, figure.dpi_scale_trans),
            ncols=legend_columns(list(handles), size), borderaxespad=0.1, columnspacing=1.5, handlelength=2.4,
        )  # fmt: skip


def note(ax: Axes, text: str, size: Size, below: float, beside: str = "") -> None:
    """Write `text` in grey under the axes.

    Args:
        ax: The axes.
        text: What the note says.
        size: The size of the figure.
        below: The distance from the axes in points, at a font of 8 points.
        beside: The longest of the tick labels to the left of the axes.
    """
    taken = _CHARACTER * len(beside) * size.font / 72
    ax.annotate(
        _wrapped(text, replace(size, width=size.width - taken)), (0.5, 0.0), (0, below * size.scale),
        xycoords="axes fraction", textcoords="offset points", ha="center", va="top",
        fontsize=_NOTE_POINTS * size.scale, color="0.35",
    )  # fmt: skip


def around(axes: Sequence[Axes], chart: Chart, size: Size, note: str, legend: bool = True) -> None:
    """Add what a figure of several panels has once: the legend of `axes`, the metric and `note`."""
    figure: Any = axes[0].get_figure(root=True)
    handles: dict[str, Any] = {}
    for ax in axes if legend else ():
        handles = legend_handles(ax) | handles
    if handles:
        ncols = legend_columns(list(handles), size)
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=ncols, frameon=False)
    upright = _upright(chart.y_label, size.height, size)
    figure.supylabel(upright, fontsize=size.rc()["axes.labelsize"], multialignment="center")
    figure.supxlabel(_wrapped(note, size), fontsize=_NOTE_POINTS * size.scale, color="0.35")
    if chart.smoke:
        figure.text(0.99, 0.99, "SMOKE", ha="right", va="top", color="0.5", fontweight="bold")


def _wrapped(text: str, size: Size) -> str:
    return textwrap.fill(text, int(72 * size.width / (_IN_PROSE * _NOTE_POINTS * size.scale)))


def _upright(label: str, height: float, size: Size) -> str:
    """`label` in as few lines as fit into `height` inches, about equally long."""
    fits = max(1, int(72 * height / (_ON_AN_AXIS * size.rc()["axes.labelsize"])))
    if len(label) <= fits:
        return label
    lines = len(textwrap.wrap(label, fits))
    tried = (textwrap.wrap(label, width) for width in range(1, fits + 1))
    return next("\n".join(found) for found in tried if len(found) <= lines)


def mark_smoke(ax: Axes, chart: Chart) -> None:
    if chart.smoke:
        ax.text(0.98, 0.04, "SMOKE", transform=ax.transAxes, ha="right", color="0.5", fontweight="bold")


def interval_note(summary: pd.DataFrame, shown: str = "Error bars", dots: str = "dots: runs; ") -> str:
    """A remark that says which intervals the figure shows."""
    counts = sorted(summary.loc[summary["n"] > 0, "n"].unique())
    if not counts:
        return "no finished run"
    if counts[-1] == 1:
        return f"n = 1 seed, no {shown.lower()}"
    if counts[-1] < FEWEST_SEEDS:
        return f"{_first_upper(dots)}n = {span(counts)} seeds, no {shown.lower()}"
    return f"{_first_upper(dots + shown.lower())}: 95 % interval, n = {span(counts)} seeds"


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def span(counts: Sequence[int]) -> str:
    """`3`, or `2-3` with an en dash, for ascending `counts`."""
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]}\N{EN DASH}{counts[-1]}"
