"""A metric over the costs of a run: parameters, multiply-adds or seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import Locator, MaxNLocator

from analysis import numbers
from analysis.figures import common, direct, legend, marks, view
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN, PAGE
from analysis.figures.facets import others, short_names
from analysis.figures.lines import shown, trace
from analysis.figures.style import Size

_MOST_TICKS = 4
_TICK = 30.0  # points that a tick of a cost needs
_MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
_COSTS = {"params": "parameters", "macs": "MACs per map"}
_MANY = 8  # points that a column of a paper has room for, with their names
_MARGIN = 0.13  # the margin at each end, as a share of the range of costs
_LEAST_RATIO = 1.02  # the least ratio of the ends of a logarithmic axis to the outermost costs
_TALL = 3.4  # inches
_ASIDE = 1.0  # points; the caption tells of larger shifts


class CostLocator(Locator):
    """At least two ticks at round numbers on a logarithmic axis of any length, and at most `most`."""

    def __init__(self, most: int = _MOST_TICKS) -> None:
        self.most = most

    def __call__(self) -> Sequence[float]:
        axis: Any = self.axis
        return self.tick_values(*axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        low, high = sorted((vmin, vmax))
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for mantissas in _MANTISSAS:
            values = np.outer(decades, mantissas).ravel()
            inside = values[(low <= values) & (values <= high)]
            if len(inside) >= 2:
                return inside[:: -(-len(inside) // self.most)].tolist()
        linear = MaxNLocator(self.most - 1).tick_values(low, high)
        return [value for value in linear if low <= value <= high]


def scatter(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw the means over a cost of a run (the column `x`): a point for each row, with its 95 % interval.

    The x axis is logarithmic where the costs differ more than tenfold. Points of equal cost stand a few points aside.
    Names stand beside the points, or in a legend where there is no room. A row without a finished run has no point.
    """
    points = chart.data[chart.data["n"] > 0].drop_duplicates(["row", chart.x]).reset_index(drop=True)
    costs = points[chart.x].astype(float)
    size = chart.sized(PAGE if len(points) > _MANY else COLUMN)
    size = size.with_height(_TALL if len(points) > _MANY else size.height / size.scale)
    with common.drawing(size, ax) as ax:
        view.show_metric(ax, chart, points)
        tenfold = len(costs) > 0 and bool(costs.max() > 10 * costs.min() > 0)
        _show_costs(ax, costs, tenfold, common.points_across(size))
        common.label_axes(ax, chart, size)
        shifts = direct.apart(ax, costs)
        for place in points.index:
            own = points.loc[[place]]
            label = legend.label(own["row"].iloc[0])
            marks.estimates(ax, [costs[place]], own, marks.look_of(own), label, shifts[place])
        aside = "; points of almost equal cost stand aside" if max(map(abs, shifts), default=0.0) > _ASIDE else ""
        common.caption([ax], chart, common.interval_note(chart.data) + aside, size)
        if not direct.name(ax, points, costs, shifts, size):
            _grow(ax, common.row_names(points), size)
            legend.add([ax], size)
    return ax


def _grow(ax: Axes, names: Sequence[str], size: Size) -> None:
    """Make our own figure as high as its legend needs."""
    figure: Any = ax.get_figure(root=True)
    if isinstance(figure, legend.Sheet):
        higher = common.under_legend(size, names)
        figure.set_size_inches(higher.width, higher.height)


def _show_costs(ax: Axes, costs: pd.Series, logarithmic: bool, room: float) -> None:
    """Let the x axis show `costs`, `room` points wide."""
    _cost_axis(ax, logarithmic, max(2, min(_MOST_TICKS, int(room / _TICK))))
    if len(costs):
        low, high = float(costs.min()), float(costs.max())
        ratio = max((high / low) ** _MARGIN, _LEAST_RATIO) if logarithmic else 1.0
        aside = 0.0 if logarithmic else _MARGIN * (high - low) or 0.1 * abs(high) or 1.0
        ax.set_xlim(low / ratio - aside, high * ratio + aside)


def with_costs(chart: Chart, axes: Any = None) -> Axes:
    """Draw `lines` over the axis `x`, over the parameters and over the MACs.

    The three panels are side by side, with a row of panels for each value of the other axes. In one column of a paper,
    they are one below the other, with a column of panels for each value, unless an exact size is wider than high.
    `axes` is an array of that shape. Returns the first panel.
    """
    summary = common.with_finished_runs(chart)
    values = others(summary)
    summary = summary.assign(row=short_names(summary))
    titles = values.drop_duplicates().tolist()
    columns: dict[Any, str] = {chart.x: chart.x_label, **_COSTS}
    size = chart.sized(PAGE)
    narrow = size.width <= COLUMN.width and not (size.exact and size.width > size.height)
    shape = (len(columns), len(titles)) if narrow else (len(titles), len(columns))
    positions, room = common.positions_along(summary[chart.x], size, shape[1]), common.points_across(size, shape[1])
    names = common.row_names(summary)
    size = size.with_height((1.7 if narrow else 1.9) * shape[0] + 0.4 + legend.LINE * legend.lines(names, size))
    with common.drawing_panels(size, axes, *shape, sharey="col" if narrow else "row") as grid:
        for panels, title in zip(grid.T if narrow else grid, titles, strict=True):
            here = summary[(values == title) & (summary["n"] > 0)]
            for ax, (column, label) in zip(panels, columns.items(), strict=True):
                view.show_metric(ax, chart, here)
                if column == chart.x:
                    trace(ax, here, str(chart.x), positions, room)
                    common.label_values(ax, positions, common.gap(positions, room), size)
                else:
                    _over_cost(ax, here, column, room)
                ax.set_xlabel(label)
                common.grid(ax, "y")
            panels[0].set_title(title, loc="left")
        common.around(list(grid.flat), chart, size, common.interval_note(summary, shown(summary, chart.x)))
    return grid[0][0]


def _over_cost(ax: Axes, means: pd.DataFrame, cost: str, room: float) -> None:
    """Draw a line for each row over a cost, on axes `room` points wide. A row that does not vary has one point."""
    _show_costs(ax, means[cost].astype(float), True, room)
    for row in common.row_names(means):
        own = means[means["row"] == row]
        own = own.drop_duplicates("group_id") if "group_id" in own else own
        marks.estimates(ax, own[cost].astype(float).tolist(), own, marks.look_of(own), legend.label(row), joined=True)


def _cost_axis(ax: Axes, logarithmic: bool, ticks: int) -> None:
    if logarithmic:
        ax.set_xscale("log", subs=[])
        ax.xaxis.set_major_locator(CostLocator(ticks))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(ticks))
    ax.xaxis.set_major_formatter(lambda value, _: numbers.short_count(value))
    ax.xaxis.set_minor_formatter("")
