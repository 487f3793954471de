"""Figures of a sweep. Functions take a frame and optional axes, return the axes, and fetch nothing.

Colours are those of Okabe and Ito, told apart with any kind of colour vision; a row label has the same colour, marker
and dash in every figure.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from analysis import numbers
from lightning_xvol import files

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
COLUMN_INCHES = (3.5, 2.9)
RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 4.0,
    "pdf.fonttype": 42,
    "svg.hashsalt": "lightning-xvol",
    "savefig.dpi": 300,
}
# Without dates and versions, the same numbers give the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


@dataclass(frozen=True)
class Style:
    color: str
    marker: str
    linestyle: str = "-"
    hollow: bool = False


_STYLES = {
    "convolution": Style(BLUE, "o"),
    "multi_convolution": Style(SKY, "h"),
    "aa_convolution": Style(PURPLE, "P"),
    "involution": Style(YELLOW, "X"),
    "self_attention": Style(ORANGE, "^"),
    "pssa": Style(GREEN, "D"),
    "pssa_static": Style(GREEN, "d", "--", hollow=True),
    "pssa_raw": Style(YELLOW, "D"),
    "pssa_hadamard": Style(PURPLE, "p"),
    "pssa_hadamard_no_value": Style(SKY, "p"),
    "pssa_dense": Style(VERMILLION, "p"),
    "static_1x1": Style(BLACK, ".", ":"),
    "convolution_1x1": Style(BLUE, "x", ":"),
    "xvolution": Style(VERMILLION, "s"),
    "xvolution_static": Style(BLACK, "v", "--", hollow=True),
    "xvolution_sa": Style(ORANGE, "s"),
    "xvolution_inv": Style(YELLOW, "s"),
}
_OTHER_COLORS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
_OTHER_MARKERS = ("<", ">", "p", "*", "8", "H")


def style(operator: str) -> Style:
    """The look of a row label: fixed for those we know, drawn from its hash for others.

    Controls (`*_static`) are dashed and hollow.
    """
    if operator in _STYLES:
        return _STYLES[operator]
    digest = hashlib.sha256(operator.encode()).digest()
    color, marker = _OTHER_COLORS[digest[0] % len(_OTHER_COLORS)], _OTHER_MARKERS[digest[1] % len(_OTHER_MARKERS)]
    control = operator.endswith("_static")
    return Style(color, marker, "--" if control else "-", control)


def new_axes(legend_lines: int = 2) -> Axes:
    """Axes of their own, as wide as the column of a paper, and higher where the legend has many lines."""
    width, height = COLUMN_INCHES
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


def _finish(ax: Axes, summary: pd.DataFrame, x_label: str, y_label: str, smoke: bool) -> None:
    """What all figures have: labels, a grid, the legend, and what the bars are."""
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    if "%" in y_label:
        _stay_near_percents(ax)
    ax.grid(axis="y", color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    # Above the data, where it covers none of it whatever the numbers.
    characters = summary["row"].drop_duplicates().map(len).sum()
    ax.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3 if characters <= 32 else 2, frameon=False,
        borderaxespad=0.1, columnspacing=1.5, handlelength=2.4,
    )  # fmt: skip
    ax.annotate(
        error_bar_note(summary), (0.5, 0.0), (0, -30), xycoords="axes fraction", textcoords="offset points",
        ha="center", va="top", fontsize=6.5, color="0.35",
    )  # fmt: skip
    if smoke:
        ax.text(0.98, 0.04, "SMOKE", transform=ax.transAxes, ha="right", color="0.5", fontsize=8, fontweight="bold")


def _line(ax: Axes, points: pd.DataFrame, positions: list[float], joined: bool = True) -> None:
    look = style(points["operator"].iloc[0])
    bars = (points["ci_high"] - points["mean"]).to_numpy()
    has_bar = ~pd.isna(bars)
    ax.plot(
        positions, points["mean"].to_numpy(), color=look.color, marker=look.marker,
        linestyle=look.linestyle if joined else "none",
        markerfacecolor="white" if look.hollow else look.color, label=points["row"].iloc[0],
    )  # fmt: skip
    if has_bar.any():
        at = [position for position, kept in zip(positions, has_bar, strict=True) if kept]
        means = points["mean"].to_numpy()[has_bar]
        look_of_bars: Any = {"ecolor": look.color, "elinewidth": 0.9, "capsize": 2, "capthick": 0.9, "zorder": 1.9}
        ax.errorbar(at, means, yerr=bars[has_bar], fmt="none", **look_of_bars)


def error_bar_note(summary: pd.DataFrame) -> str:
    """What the bars are, for caption or legend."""
    counts = sorted(summary.loc[summary["n"] > 0, "n"].unique())
    if not counts:
        return "no finished run"
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]}\N{EN DASH}{counts[-1]}"
    if counts[-1] == 1:
        return "n = 1 seed, no error bars"
    return f"Error bars: 95 % interval (Student's t), n = {n} seeds"


def _stay_near_percents(ax: Axes) -> None:
    """Bars may leave 0 to 100 %; the axis does not follow them far."""
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, -4.0), min(high, 104.0))


def _numeric(values: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(values))


def _ticks(values: pd.Series) -> list[Any]:
    unique = values.drop_duplicates()
    return (unique.sort_values() if _numeric(values) else unique).tolist()


KINDS: dict[str, Callable[..., Axes]] = {"lines": lines, "scatter": scatter, "with_costs": with_costs}


def write(ax: Axes, path: Path) -> None:
    """Save the figure of `ax` atomically, in the format of the suffix (pdf, png, svg)."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes belong to no figure")
    kind = path.suffix.removeprefix(".")
    with matplotlib.rc_context(RC):
        files.write_by(path, lambda file: figure.savefig(file, format=kind, metadata=_METADATA[kind]))
