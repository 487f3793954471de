"""A metric over an axis of numbers, and over epochs."""

from __future__ import annotations

import itertools

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import common
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN
from analysis.figures.style import style
from analysis.statistics import FEWEST_SEEDS


def lines(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw the means over the axis `x`: a line for each row, with 95 % intervals as error bars.

    Error bars would cover one another. Therefore they shift each line sideways a little; the ticks stay at the values
    of `x`.
    """
    summary = common.with_finished_runs(chart)
    rows, positions = common.row_names(summary), common.positions_along(summary[chart.x])
    size = common.under_legend(chart.size or COLUMN, rows)
    with common.drawing(size, ax) as ax:
        gap = min((right - left for left, right in itertools.pairwise(positions.values())), default=1.0)
        shift = gap * min(0.18, 0.5 / len(rows)) if (summary["n"] > 1).any() else 0.0
        for number, row in enumerate(rows):
            points = summary[summary["row"] == row]
            aside = shift * (number - (len(rows) - 1) / 2)
            common.line(ax, points, [positions[value] + aside for value in points[chart.x]])
        ax.set_xticks(list(positions.values()), [str(value) for value in positions])
        common.finish(ax, chart, size, common.interval_note(summary))
    return ax


def curves(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw the means after each epoch: a line for each row, with 95 % intervals as bands."""
    epochs, rows = chart.data, common.row_names(chart.data)
    size = common.under_legend(chart.size or COLUMN, rows)
    with common.drawing(size, ax) as ax:
        for row in rows:
            numbers = dict.fromkeys([chart.x, "mean", "ci_low", "ci_high"], float)
            points = epochs[epochs["row"] == row].astype(numbers)
            look = style(points["operator"].iloc[0])
            ax.plot(
                points[chart.x], points["mean"], label=common.legend_label(row), color=look.color,
                linestyle=look.linestyle, marker=look.marker, markersize=3.0 * size.scale,
                markevery=max(1, len(points) // 20), markerfacecolor=look.fill,
            )  # fmt: skip
            shown = points[points["n"] >= FEWEST_SEEDS]
            low, high = shown["ci_low"], shown["ci_high"]
            ax.fill_between(shown[chart.x], low, high, color=look.color, alpha=0.12, linewidth=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        common.finish(ax, chart, size, common.interval_note(epochs, "Bands", dots=""))
    return ax
