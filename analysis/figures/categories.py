"""A metric over values that are not numbers: groups of bars, or one line of the figure for each row."""

from __future__ import annotations

from matplotlib.axes import Axes

from analysis.figures import common
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN, PAGE
from analysis.figures.style import PALETTE, Size, style
from analysis.statistics import FEWEST_SEEDS

_MANY_BARS = 12
_LONG_LABEL = 20  # characters


def bars(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw the means as bars: a group for each value of the axis `x`, a bar for each row. Controls are hollow."""
    summary = common.with_finished_runs(chart)
    values, rows = common.values_along(summary[chart.x]), common.row_names(summary)
    size = chart.size or (PAGE if len(values) * len(rows) > _MANY_BARS else COLUMN)
    size = common.under_legend(size, rows)
    with common.drawing(size, ax) as ax:
        width = 0.8 / len(rows)
        for number, row in enumerate(rows):
            points = summary[summary["row"] == row]
            look = style(points["operator"].iloc[0])
            at = [values.index(value) + width * (number - (len(rows) - 1) / 2) for value in points[chart.x]]
            ax.bar(
                at, points["mean"], width=0.85 * width, label=common.legend_label(row), color=look.fill,
                edgecolor=look.color, linewidth=0.9, linestyle=look.linestyle,
            )  # fmt: skip
            common.interval(ax, at, points, "0.25")
            common.single_runs(ax, at, points, "0.25")
        names = [str(value).replace(" (", "\n(") for value in values]
        ax.set_xticks(range(len(values)), names)
        two_lines = any("\n" in name for name in names)
        common.finish(ax, chart, size, common.interval_note(summary), below=-42 if two_lines else -31)
    return ax


def dots(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw each row on a separate line of the figure, with a marker for each value of the axis `x`.

    The metric runs across, so that many rows with long names have room. Without an axis, a row has one marker.
    """
    summary = common.with_finished_runs(chart)
    rows = common.row_names(summary)
    values = [None] if chart.x is None else common.values_along(summary[chart.x])
    size = for_rows(chart.size, rows, legend_lines=0 if chart.x is None else -(-len(values) // 3))
    with common.drawing(size, ax) as ax:
        for number, value in enumerate(values):
            points = summary if chart.x is None else summary[summary[chart.x] == value]
            shift = 0.16 * (number - (len(values) - 1) / 2)
            for row, point in zip(points["row"], points.index, strict=True):
                look = style(points.loc[point, "operator"])
                color = look.color if chart.x is None else PALETTE[number % len(PALETTE)]
                ax.plot(
                    points.loc[point, "mean"], rows.index(row) + shift, color=color, linestyle="none",
                    marker=_marker(points.loc[point, "n"], look.marker if chart.x is None else "osD^v"[number % 5]),
                    markerfacecolor="white" if look.hollow else color,
                    label=f"{chart.x_label}: {value}" if chart.x is not None and row == rows[0] else None,
                )  # fmt: skip
                at = [rows.index(row) + shift]
                common.interval(ax, at, points.loc[[point]], color, across=True)
                common.single_runs(ax, at, points.loc[[point]], color, across=True)
        finish_rows(ax, chart, size, rows, common.interval_note(summary))
    return ax


def _marker(n: int, marker: str) -> str:
    """The marker of a mean of `n` runs; two runs stand without a mean."""
    return "none" if n == FEWEST_SEEDS - 1 else marker


def for_rows(size: Size | None, rows: list[str], legend_lines: int = 0) -> Size:
    """The size of a figure with a line for each of `rows`: a page wide if their names are long, and high enough."""
    size = size or (PAGE if max(map(len, rows)) > _LONG_LABEL else COLUMN)
    return size.with_height(0.9 + 0.22 * len(rows) + 0.15 * legend_lines)


def finish_rows(ax: Axes, chart: Chart, size: Size, rows: list[str], remark: str) -> None:
    """Add what a figure with a line for each row has: their names, the metric across, the legend and a remark."""
    longest = max(rows, key=len)
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel(chart.y_label)
    common.stay_near_percents(ax, chart, across=True)
    common.grid(ax, "x")
    common.legend(ax, size, beside=longest)
    common.note(ax, remark, size, below=-30, beside=longest)
    common.mark_smoke(ax, chart)
