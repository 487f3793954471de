"""What the figures share: axes of a size, ticks, intervals, legend and notes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from analysis.figures.style import SIZES, Size, style

COLUMN, PAGE = SIZES["column"], SIZES["page"]
_NOTE_POINTS = 6.5
_CHARACTER = 0.58  # ems of a letter of DejaVu Sans, with something to spare
_IN_PROSE = 0.47  # on average
_ON_AN_AXIS = 0.54  # of a metric's name with its unit
_HANDLE = 4.7  # ems of a legend's entry beside its text


def new_axes(size: Size) -> Axes:
    """Axes of their own."""
    with matplotlib.rc_context(size.rc()):
        return Figure(figsize=(size.width, size.height), layout="constrained").subplots()


def new_grid(size: Size, rows: int, columns: int, **options: Any) -> np.ndarray:
    """An array of `rows` x `columns` axes in a figure of their own."""
    with matplotlib.rc_context(size.rc()):
        figure = Figure(figsize=(size.width, size.height), layout="constrained")
        grid: np.ndarray = figure.subplots(rows, columns, squeeze=False, **options)
        return grid


def under_legend(size: Size, labels: Sequence[str]) -> Size:
    """`size`, higher where the legend of `labels` takes many lines."""
    lines = -(-len(labels) // legend_columns(labels, size))
    return size.with_height(max(size.height / size.scale, 2.4 + 0.15 * lines))


def legend_columns(labels: Sequence[str], size: Size) -> int:
    """As many as fit the width beside one another."""
    longest = max(map(len, labels), default=1)
    entry = (_CHARACTER * longest + _HANDLE) * size.rc()["legend.fontsize"]
    return max(1, min(len(labels), int(72 * size.width / entry)))


def begun(summary: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Without the values of `columns` of which no run has finished; everything where none has."""
    done = summary[summary["n"] > 0]
    if not len(done):
        return summary
    for column in columns:
        summary = summary[summary[column].isin(done[column])]
    return summary


def ticks(values: pd.Series) -> list[Any]:
    """Numbers ascend, anything else keeps its order."""
    unique = values.drop_duplicates()
    return (unique.sort_values() if numeric(values) else unique).tolist()


def numeric(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values))


def line(ax: Axes, points: pd.DataFrame, positions: Sequence[float], joined: bool = True) -> None:
    """The means of one row at `positions`, with their intervals."""
    look = style(points["operator"].iloc[0])
    ax.plot(
        positions, points["mean"].to_numpy(), color=look.color, marker=look.marker,
        linestyle=look.linestyle if joined else "none",
        markerfacecolor="white" if look.hollow else look.color, label=entry(points["row"].iloc[0]),
    )  # fmt: skip
    interval(ax, positions, points, look.color, zorder=1.9)


def interval(
    ax: Axes, positions: Sequence[float], points: pd.DataFrame, color: str, across: bool = False, zorder: float = 2.5
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


def finish(ax: Axes, x_label: str, y_label: str, remark: str, smoke: bool, size: Size, below: float = -30) -> None:
    """What most figures have: labels, a grid, the legend, and a remark that says what the bars are."""
    ax.set_xlabel(x_label)
    ax.set_ylabel(_upright(y_label, size.height - 0.3 * size.scale, size))
    if "%" in y_label:
        ax.set_ylim(*near_percents(ax.get_ylim()))
    grid(ax, "y")
    legend(ax, size)
    note(ax, remark, size, below)
    mark_smoke(ax, smoke)


def grid(ax: Axes, axis: Any) -> None:
    ax.grid(axis=axis, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


PERCENTS = (-4.0, 104.0)


def near_percents(limits: tuple[float, float]) -> tuple[float, float]:
    """Bars may leave 0 to 100 %; the axis does not follow them far."""
    return max(limits[0], PERCENTS[0]), min(limits[1], PERCENTS[1])


def entry(row: str) -> str:
    """The label that puts `row` into the legend, which leaves out what begins with an underscore."""
    return f" {row}" if row.startswith("_") else row


def legend_entries(ax: Axes) -> dict[str, Any]:
    """By name, what the legend shows."""
    handles, labels = ax.get_legend_handles_labels()
    return {label.removeprefix(" "): handle for label, handle in zip(labels, handles, strict=True)}


def legend(ax: Axes, size: Size, beside: str = "") -> None:
    """Above the data, where it covers none of it whatever the numbers, and above labels like `beside` to their left."""
    entries = legend_entries(ax)
    if entries:
        figure: Any = ax.get_figure(root=True)
        taken = _IN_PROSE * len(beside) * size.rc()["ytick.labelsize"] / 72
        ax.legend(
            entries.values(), entries.keys(), loc="lower left", frameon=False, bbox_to_anchor=(-0.02, 1.0),
            bbox_transform=ax.transAxes + ScaledTranslation(-taken, 0, figure.dpi_scale_trans),
            ncols=legend_columns(list(entries), size), borderaxespad=0.1, columnspacing=1.5, handlelength=2.4,
        )  # fmt: skip


def note(ax: Axes, text: str, size: Size, below: float, beside: str = "") -> None:
    """`text` in grey, `below` points (of text of 8) under the axes, to whose left there is a label like `beside`."""
    taken = _CHARACTER * len(beside) * size.font / 72
    ax.annotate(
        _wrapped(text, replace(size, width=size.width - taken)), (0.5, 0.0), (0, below * size.scale),
        xycoords="axes fraction", textcoords="offset points", ha="center", va="top",
        fontsize=_NOTE_POINTS * size.scale, color="0.35",
    )  # fmt: skip


def around(axes: Sequence[Axes], y_label: str, note: str, smoke: bool, size: Size, legend: bool = True) -> None:
    """What stands once for all panels of a figure: the legend of `axes`, the metric, `note`."""
    figure: Any = axes[0].get_figure(root=True)
    found: dict[str, Any] = {}
    for ax in axes if legend else ():
        found = legend_entries(ax) | found
    if found:
        ncols = legend_columns(list(found), size)
        figure.legend(found.values(), found.keys(), loc="outside upper left", ncols=ncols, frameon=False)
    upright = _upright(y_label, size.height, size)
    figure.supylabel(upright, fontsize=size.rc()["axes.labelsize"], multialignment="center")
    figure.supxlabel(_wrapped(note, size), fontsize=_NOTE_POINTS * size.scale, color="0.35")
    if smoke:
        figure.text(0.99, 0.99, "SMOKE", ha="right", va="top", color="0.5", fontweight="bold")


def _wrapped(text: str, size: Size) -> str:
    return textwrap.fill(text, int(72 * size.width / (_IN_PROSE * _NOTE_POINTS * size.scale)))


def _upright(label: str, height: float, size: Size) -> str:
    """In as few lines as fit `height`, in inches, and about equally long."""
    fits = max(1, int(72 * height / (_ON_AN_AXIS * size.rc()["axes.labelsize"])))
    if len(label) <= fits:
        return label
    lines = len(textwrap.wrap(label, fits))
    tried = (textwrap.wrap(label, width) for width in range(1, fits + 1))
    return next("\n".join(found) for found in tried if len(found) <= lines)


def mark_smoke(ax: Axes, smoke: bool) -> None:
    if smoke:
        ax.text(0.98, 0.04, "SMOKE", transform=ax.transAxes, ha="right", color="0.5", fontweight="bold")


def interval_note(summary: pd.DataFrame, shown: str = "Error bars") -> str:
    """What the bars are, for caption or legend."""
    counts = sorted(summary.loc[summary["n"] > 0, "n"].unique())
    if not counts:
        return "no finished run"
    if counts[-1] == 1:
        return f"n = 1 seed, no {shown.lower()}"
    return f"{shown}: 95 % interval (Student's t), n = {span(counts)} seeds"


def span(counts: Sequence[int]) -> str:
    """`3`, or `2-3` with an en dash; `counts` ascend."""
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]}\N{EN DASH}{counts[-1]}"
