"""A metric over an axis of numbers, and over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import common, legend, marks, view
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN
from analysis.figures.style import Size
from analysis.statistics import FEWEST_SEEDS

BARS, BANDS, BOTH = "Error bars", "Bands", "Error bars and bands"


def lines(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw the means over the axis `x`: a line for each row, with 95 % intervals as error bars.

    Rows are a few points apart, so that error bars do not cover one another. A row with the same runs at every value,
    such as a baseline that the axis does not concern, is a level line with a band.
    """
    summary = common.with_finished_runs(chart)
    size = common.under_legend(chart.sized(COLUMN), common.row_names(summary))
    positions, room = common.positions_along(summary[chart.x], size), common.points_across(size)
    with common.drawing(size, ax) as ax:
        view.show_metric(ax, chart, summary)
        trace(ax, summary, str(chart.x), positions, room)
        common.label_values(ax, positions, common.gap(positions, room), size)
        common.finish(ax, chart, size, common.interval_note(summary, shown(summary, chart.x)))
    return ax


def shown(summary: pd.DataFrame, x: str | None) -> str:
    """The kind of marks that show the intervals: error bars, bands or both."""
    return BOTH if common.constant_rows(summary, x) else BARS


def trace(ax: Axes, means: pd.DataFrame, x: str, positions: Mapping[Any, float], room: float) -> None:
    """Draw a line for each row of `means` over `positions`, on axes that are `room` points wide."""
    view.show_values(ax, positions.values())
    fixed = common.constant_rows(means, x)
    moving = [row for row in common.row_names(means) if row not in fixed]
    shifts = marks.steps(len(moving), common.gap(positions, room) if (means["n"] > 1).any() else 0.0)
    for row in fixed:
        draw_constant(ax, means[means["row"] == row])
    for row, shift in zip(moving, shifts, strict=True):
        own = means[means["row"] == row]
        at = [positions[value] for value in own[x]]
        marks.estimates(ax, at, own, marks.look_of(own), legend.label(row), shift, joined=True)


def draw_constant(ax: Axes, own: pd.DataFrame) -> None:
    """Draw the row `own`, which has the same runs at every value."""
    marks.constant(ax, own.iloc[0], marks.look_of(own), legend.label(own["row"].iloc[0]))


def curves(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw the means after each epoch: a line for each row, with 95 % intervals as bands. Two runs are two lines."""
    epochs, rows = chart.data, common.row_names(chart.data)
    size = common.under_legend(chart.sized(COLUMN), rows)
    numbers = dict.fromkeys([chart.x, "mean", "ci_low", "ci_high"], float)
    with common.drawing(size, ax) as ax:
        view.show_metric(ax, chart, epochs)
        for row in rows:
            _curve(ax, epochs[epochs["row"] == row].astype(numbers), str(chart.x), size)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        few = epochs["n"].max() == FEWEST_SEEDS - 1
        common.finish(ax, chart, size, common.interval_note(epochs, BANDS, dots="lines: runs; " if few else ""))
    return ax


def _curve(ax: Axes, points: pd.DataFrame, x: str, size: Size) -> None:
    look = marks.look_of(points)
    two = bool((points["n"] == FEWEST_SEEDS - 1).all())
    runs = list(zip(*points["runs"], strict=True)) if two else [points["mean"]]
    for number, values in enumerate(runs):
        ax.plot(
            points[x], values, label=marks.RUNS if number else legend.label(points["row"].iloc[0]), color=look.color,
            linestyle=look.linestyle, marker=look.marker, markersize=3.0 * size.scale,
            linewidth=(0.7 if two else 1.1) * size.scale, markevery=max(1, len(points) // 20),
            markerfacecolor=look.fill,
        )  # fmt: skip
    band = points[points["n"] >= FEWEST_SEEDS]
    ax.fill_between(band[x], band["ci_low"], band["ci_high"], color=look.color, alpha=0.12, linewidth=0)
