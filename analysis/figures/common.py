"""Parts that the figures share: axes of a size, rows and their positions, labels, ticks and captions."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from analysis import numbers
from analysis.figures import legend, marks, text, view
from analysis.figures.chart import Chart
from analysis.figures.legend import Sheet
from analysis.figures.style import MOST, SIZES, Size
from analysis.statistics import FEWEST_SEEDS
from lightning_xvol.errors import UserError
from lightning_xvol.visualize.style import settings

COLUMN, PAGE = SIZES["column"], SIZES["page"]
_GREY = "0.35"
_LEAST = 0.4  # inches that the axes of a figure need to show anything
_PANEL = 0.58  # inches that a panel needs in a figure of an exact size
_BESIDE = 0.55  # inches beside the axes: the label of the metric and its ticks


class TooSmallError(UserError):
    """The figure does not fit into the size that was asked for."""


@contextlib.contextmanager
def drawing(size: Size, ax: Axes | None) -> Iterator[Axes]:
    """Give `ax`, or the axes of a new figure. Until the block ends, matplotlib's defaults suit `size`."""
    with settings(size.rc()):
        own = _new_figure(size).subplots() if ax is None else ax
        yield own
        if ax is None:
            _make_room(np.array([own]), size)


@contextlib.contextmanager
def drawing_panels(size: Size, axes: Any, rows: int, columns: int, **options: Any) -> Iterator[np.ndarray]:
    """As `drawing`, but give the array `axes`, or an array of `rows` x `columns` axes of a new figure."""
    with settings(size.rc()):
        own = _new_figure(size).subplots(rows, columns, squeeze=False, **options) if axes is None else np.asarray(axes)
        yield own
        if axes is None:
            _make_room(own, size)


def _new_figure(size: Size) -> Sheet:
    figure = Sheet(figsize=(size.width, size.height), layout="constrained")
    FigureCanvasAgg(figure)  # measures text many times faster than the default canvas
    return figure


def _make_room(axes: np.ndarray, size: Size) -> None:
    """Make our own figure larger if its text leaves no room for the axes.

    Raises:
        TooSmallError: if there is no room and the size is exact.
    """
    figure = _figure_of(axes.flat[0])
    for wider in (size.fixed, True):
        width, height = size.width, size.height
        figure.set_size_inches(width, height)
        while not _has_room(axes) and height < MOST:
            width *= 1.15 if wider or not _is_wide(axes) else 1.0
            height *= 1.15
            figure.set_size_inches(width, height)
        if height < MOST or not size.exact:
            break  # else no height helps at this width
    if size.exact and height > size.height:
        raise TooSmallError(
            f"{size.width:g}x{size.height:g} inches are too small for this figure with its text; "
            f"it needs about {width:.1f}x{height:.1f}"
        )


def _has_room(axes: np.ndarray) -> bool:
    figure = _figure_of(axes.flat[0])
    with warnings.catch_warnings(record=True) as collapsed:
        warnings.simplefilter("always")
        figure.get_layout_engine().execute(figure)
    height = min(ax.get_position().height for ax in axes.flat if ax.get_visible()) * figure.get_figheight()
    return (
        _is_wide(axes) and height >= _LEAST and not any("constrained_layout" in str(told.message) for told in collapsed)
    )


def _is_wide(axes: np.ndarray) -> bool:
    figure = _figure_of(axes.flat[0])
    return min(ax.get_position().width for ax in axes.flat if ax.get_visible()) * figure.get_figwidth() >= _LEAST


def panels_across(size: Size, number: int, most: int) -> int:
    """The number of panels side by side, of `number`: at most `most`, or as many as fit into an exact size."""
    if size.exact:
        most = max(1, int((size.width - _BESIDE * size.scale) / _PANEL))
    return -(-number // -(-number // most))


def _figure_of(ax: Axes) -> Any:
    return ax.get_figure(root=True)


def first_panels(axes: np.ndarray, number: int) -> list[Axes]:
    """The first `number` panels of `axes`. The others become invisible."""
    panels: list[Axes] = list(axes.flat)
    for ax in panels[number:]:
        ax.set_visible(False)
    return panels[:number]


def under_legend(size: Size, labels: Sequence[str]) -> Size:
    """`size`, with more height where the legend of `labels` takes many lines."""
    return size.with_height(max(size.height / size.scale, 2.4 + legend.LINE * legend.lines(labels, size)))


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


def constant_rows(data: pd.DataFrame, x: str | None) -> list[str]:
    """The rows that are the same runs at every value of the axis `x`, such as a baseline that it does not concern."""
    if x is None or "group_id" not in data:
        return []
    counts = data.groupby("row", sort=False).agg(values=(x, "nunique"), groups=("group_id", "nunique"))
    return list(counts.index[(counts["values"] > 1) & (counts["groups"] == 1)])


def values_along(column: pd.Series) -> list[Any]:
    """The values of a column, each once: numbers ascend, and other values keep their order."""
    values = column.drop_duplicates()
    return (values.sort_values() if is_numeric(column) else values).tolist()


def positions_along(column: pd.Series, size: Size, panels: int = 1) -> dict[Any, float]:
    """The position of each value of a column on an axis.

    A number is its own position, unless ticks would then cover one another. Other values are evenly spaced.
    """
    values = values_along(column)
    if len(values) > 1 and is_numeric(column):
        gap = min(right - left for left, right in itertools.pairwise(values)) / (values[-1] - values[0])
        widest = text.widest(list(map(str, values)), size.rc()["xtick.labelsize"], size.style)
        if gap * points_across(size, panels) > 1.2 * widest:
            return dict(zip(values, values, strict=True))
    elif is_numeric(column):
        return dict(zip(values, values, strict=True))
    return dict(zip(values, range(len(values)), strict=True))


def points_across(size: Size, panels: int = 1) -> float:
    """The approximate width in points of each of `panels` panels that stand side by side."""
    return 72 * (size.width - _BESIDE * size.scale) / panels * (0.94 if panels > 1 else 1.0)


def is_numeric(column: pd.Series) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def gap(positions: Mapping[Any, float], room: float) -> float:
    """The least distance between two of `positions` in points, on axes that are `room` points wide."""
    at = sorted(positions.values())
    if len(at) < 2:
        return room
    return room * min(right - left for left, right in itertools.pairwise(at)) / view.length(at)


def label_values(ax: Axes, positions: Mapping[Any, float], apart: float, size: Size) -> None:
    """Put a tick with its text at each value of the x axis. Texts wider than `apart` points are broken or turned."""
    font = size.rc()["xtick.labelsize"]
    apart *= 0.95
    names = [str(value) for value in positions]
    broken = [text.in_two(name) if text.width(name, font, size.style) > apart else name for name in names]
    turned: Any = {}
    if text.widest([line for name in broken for line in name.split("\n")], font, size.style) <= apart:
        names = broken
    elif len(names) > 1:
        names = [text.shortened(name) for name in names]
        turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(list(positions.values()), names, **turned)


def finish(ax: Axes, chart: Chart, size: Size, remark: str) -> None:
    """Add what most figures have: labels, a grid, the legend, and a caption that explains the bars."""
    label_axes(ax, chart, size)
    legend.add([ax], size)
    caption([ax], chart, remark, size)


def label_axes(ax: Axes, chart: Chart, size: Size) -> None:
    ax.set_xlabel(chart.x_label)
    ax.set_ylabel(upright(chart.y_label, size.height - 0.3 * size.scale, size), multialignment="center")
    grid(ax, "y")
    mark_smoke(ax, chart)


def grid(ax: Axes, axis: Any) -> None:
    ax.grid(axis=axis, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


def caption(axes: Sequence[Axes], chart: Chart, words: str, size: Size) -> None:
    """Write `words` in grey below our own figure, or below the axes of another."""
    ax, figure = axes[0], _figure_of(axes[0])
    if not chart.caption:
        return
    if any(line.get_label() == marks.ARROWS for own in axes for line in own.get_lines()):
        words += f"; arrows: beyond the axis{_far_below(chart)}"
    if isinstance(figure, Sheet) or len(axes) > 1:
        figure.supxlabel(text.caption(words, size), fontsize=text.NOTE * size.scale, color=_GREY)
        return
    ax.annotate(
        text.caption(words, size, 72 * size.width), (0.5, 0.0), (0, -2), xycoords=ax.xaxis.label,
        textcoords="offset points", ha="center", va="top", fontsize=text.NOTE * size.scale, color=_GREY,
    )  # fmt: skip


def _far_below(chart: Chart) -> str:
    """A note on the number of means far below 0 %, and on the lowest; empty for none."""
    if not chart.is_in_percent or "mean" not in chart.data:
        return ""
    below = chart.data["mean"][chart.data["mean"] < view.PERCENTS[0]]
    return f", {numbers.counted(len(below), 'mean')} down to {numbers.number(below.min())}" if len(below) else ""


def around(axes: Sequence[Axes], chart: Chart, size: Size, remark: str, named: bool = True, title: str = "") -> None:
    """Add what several panels share: the legend of `axes` (if `named`), the label of the metric, and a caption."""
    figure = _figure_of(axes[0])
    if named:
        legend.add(axes, size, title)
    metric = upright(chart.y_label, size.height, size)
    figure.supylabel(metric, fontsize=size.rc()["axes.labelsize"], multialignment="center")
    caption(axes, chart, remark, size)
    if chart.smoke:
        figure.text(0.99, 0.99, "SMOKE", ha="right", va="top", color="0.5", fontweight="bold")


def upright(label: str, height: float, size: Size) -> str:
    """`label` in as few lines as fit into `height` inches, about equally long."""
    return text.balanced(label, 72 * height, size.rc()["axes.labelsize"], size.style)


def mark_smoke(ax: Axes, chart: Chart) -> None:
    if chart.smoke:
        ax.text(0.98, 0.04, "SMOKE", transform=ax.transAxes, ha="right", color="0.5", fontweight="bold", zorder=1)


def interval_note(summary: pd.DataFrame, shown: str = "Error bars", dots: str = "dots: runs; ") -> str:
    """A remark that says which intervals the figure shows."""
    counts = sorted(summary.loc[summary["n"] > 0, "n"].unique())
    if not counts:
        return "no finished run"
    none = f"no {shown.lower().partition(' and ')[0]}"
    if counts[-1] == 1:
        return f"n = 1 seed, {none}"
    if counts[-1] < FEWEST_SEEDS:
        return f"{_first_upper(dots)}n = {span(counts)} seeds, {none}"
    return f"{_first_upper(dots + shown.lower())}: 95 % interval, n = {span(counts)} seeds"


def _first_upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def span(counts: Sequence[int]) -> str:
    """`3`, or `2-3` with an en dash, for ascending `counts`."""
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]}\N{EN DASH}{counts[-1]}"
