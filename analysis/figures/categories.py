"""A metric over values that are not numbers: a group of points for each value, or a line of the figure for each row."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import common, legend, marks, text, view
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN, PAGE
from analysis.figures.lines import draw_constant, shown
from analysis.figures.style import PALETTE, Size, Style

_MANY = 12  # groups times rows that one column of a paper can show
_STEP, _AT_MOST = 9.0, 0.7  # points between the rows of a group, and the largest share of its width for all of them
_BESIDE_TICKS = 0.62  # the share of the width of a figure for the names of its lines; longer names need a page
_LINE, _VALUE = 0.21, 0.075  # inches of a line of the figure, and of each further value on it
_MARKERS = "osD^v"
_CONSTANT = Style("0.35", "o")  # colours stand for the values of the axis
_AROUND = 16.0  # points to the sides of the axes and of the names of its lines
_ABOVE = 0.35  # of a line, for the runs of a row that does not vary
_SHADE = "0.965"


def groups(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw a group for each value of the axis `x`: the rows side by side, with their runs and 95 % intervals.

    A row with the same runs at every value is a level line with a band through all groups.
    """
    summary = common.with_finished_runs(chart)
    rows, fixed = common.row_names(summary), common.constant_rows(summary, chart.x)
    values = common.values_along(summary[chart.x])
    moving = [row for row in rows if row not in fixed]
    size = chart.sized(PAGE if len(values) * len(moving) > _MANY else COLUMN)
    size, room = common.under_legend(size, rows), common.points_across(size)
    with common.drawing(size, ax) as ax:
        show_groups(ax, len(values))
        view.show_metric(ax, chart, summary)
        for row in fixed:
            draw_constant(ax, summary[summary["row"] == row])
        shifts = marks.steps(len(moving), room / len(values), _STEP * size.scale, _AT_MOST)
        for row, shift in zip(moving, shifts, strict=True):
            own = summary[summary["row"] == row]
            at = [float(values.index(value)) for value in own[chart.x]]
            marks.estimates(ax, at, own, marks.look_of(own), legend.label(row), shift)
        places = {value: float(place) for place, value in enumerate(values)}
        common.label_values(ax, places, room / len(values), size)
        common.finish(ax, chart, size, common.interval_note(summary, shown(summary, chart.x)))
    return ax


def show_groups(ax: Axes, number: int) -> None:
    """Let the x axis show `number` groups, with a shade behind every other one."""
    ax.set_xlim(-0.5, number - 0.5)
    ax.tick_params(axis="x", length=0)
    for group in range(1, number, 2):
        ax.axvspan(group - 0.5, group + 0.5, color=_SHADE, linewidth=0, zorder=0)


def dots(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw each row on a separate line of the figure, with a marker for each value of the axis `x`.

    The metric is on the horizontal axis, so that many rows with long names have room. Without an axis `x`, a row has
    one marker. A row with the same runs at every value is an upright line with a band.
    """
    summary = common.with_finished_runs(chart)
    fixed = common.constant_rows(summary, chart.x)
    rows = [row for row in common.row_names(summary) if row not in fixed]
    values = [None] if chart.x is None else common.values_along(summary[chart.x])
    short = len(text.symbol(chart.x_label)) == 1
    names = [text.value_of(chart.x_label, value) if short else str(value) for value in values]
    title = "" if chart.x is None or short else chart.x_label
    size = with_legend(for_rows(chart, rows, len(values)), [*fixed, *(names if chart.x else [])], title)
    with common.drawing(size, ax) as ax:
        show_rows(ax, rows, above=_ABOVE if fixed else 0.0)
        view.show_metric(ax, chart, summary, across=True)
        shifts = marks.steps(len(values), 72 * _pitch(len(values)) * size.scale, 72 * _VALUE * size.scale, 0.8)
        if chart.x is None:
            _draw_points(ax, summary, rows)
        for number, (value, name, shift) in enumerate(zip(values, names, shifts, strict=True) if chart.x else ()):
            _draw_points(ax, summary[summary[chart.x] == value], rows, number, name, shift)
        for row in fixed:
            marks.constant(ax, summary[summary["row"] == row].iloc[0], _CONSTANT, legend.label(row), across=True)
        finish_rows(ax, chart, size, common.interval_note(summary, shown(summary, chart.x)), title)
    return ax


def _draw_points(
    ax: Axes, points: pd.DataFrame, rows: list[str], number: int | None = None, name: str = "", shift: float = 0.0
) -> None:
    """Draw a point on the line of each of `rows`. It has the look of the row or, with a `name`, of value `number`."""
    points = points[points["row"].isin(rows)]
    for place, row in enumerate(points["row"]):
        own = points.iloc[[place]]
        look = marks.look_of(own)
        if number is not None:
            look = Style(PALETTE[number % len(PALETTE)], _MARKERS[number % len(_MARKERS)], hollow=look.hollow)
        label = legend.label(name) if number is not None and place == 0 else marks.RUNS
        marks.estimates(ax, [float(rows.index(row))], own, look, label, shift, across=True)


def _pitch(values: int) -> float:
    """The height of a line of the figure in inches."""
    return _LINE + _VALUE * max(0, values - 1)


def for_rows(chart: Chart, rows: list[str], values: int = 1) -> Size:
    """The size of a figure with a line for each of `rows`: a page wide if their names are long, and high enough."""
    size = chart.sized(COLUMN)
    if chart.size is None:
        names = text.widest(rows, size.rc()["ytick.labelsize"], size.style)
        size = chart.sized(PAGE if names > (1 - _BESIDE_TICKS) * 72 * COLUMN.width else COLUMN)
    return size.with_height(0.75 + _pitch(values) * len(rows))


def with_legend(size: Size, labels: list[str], title: str) -> Size:
    """`size` with room for a legend of `labels` below its title."""
    lines = legend.lines(labels, size) + bool(title)
    return size.with_height(size.height / size.scale + legend.LINE * lines)


def show_rows(ax: Axes, rows: list[str], above: float = 0.0) -> None:
    """Name each of `rows` on a line of the figure, the first on top, with a shade behind every other line.

    There is room for `above` lines on top.
    """
    ax.set_yticks(range(len(rows)), rows)
    ax.set_ylim(len(rows) - 0.5, -0.5 - above)
    ax.tick_params(axis="y", length=0)
    for number in range(1, len(rows), 2):
        ax.axhspan(number - 0.5, number + 0.5, color=_SHADE, linewidth=0, zorder=0)


def finish_rows(ax: Axes, chart: Chart, size: Size, remark: str, title: str = "") -> None:
    """Add what a figure with a line for each row has: the metric across, the legend and a caption."""
    label_metric_across(ax, chart, size)
    common.grid(ax, "x")
    legend.add([ax], size, title)
    common.caption([ax], chart, remark, size)
    common.mark_smoke(ax, chart)


def label_metric_across(ax: Axes, chart: Chart, size: Size) -> None:
    """Name the metric below the axes, in as few lines as fit beside the names of the lines of the figure."""
    names = text.widest([item.get_text() for item in ax.get_yticklabels()], size.rc()["ytick.labelsize"], size.style)
    room = 72 * size.width - names - _AROUND
    ax.set_xlabel(text.balanced(chart.y_label, room, size.rc()["axes.labelsize"], size.style))
