"""A metric over the costs of a run: parameters, multiply-adds or seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import Locator, MaxNLocator

from analysis import numbers
from analysis.figures import common
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN, PAGE

_LONG_TICK = 5  # characters; longer labels of ticks are turned
_MOST_TICKS = 4
_MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
_COSTS = {"params": "parameters", "macs": "MACs per map"}


class CostLocator(Locator):
    """Two to four round ticks on a logarithmic axis of any length."""

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
                return inside[:: -(-len(inside) // _MOST_TICKS)].tolist()
        linear = MaxNLocator(_MOST_TICKS - 1).tick_values(low, high)
        return [value for value in linear if low <= value <= high]


def scatter(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw the means over a cost of a run (the column `x`): a point for each row, with its 95 % interval.

    The x axis is logarithmic where the costs differ more than tenfold. A row without a finished run has no point.
    """
    points = chart.data[chart.data["n"] > 0]
    costs = points[chart.x]
    size = common.under_legend(chart.size or COLUMN, points["row"].tolist())
    with common.drawing(size, ax) as ax:
        for point, cost in costs.items():
            common.line(ax, points.loc[[point]], [float(cost)], joined=False)
        _cost_axis(ax, logarithmic=len(costs) > 0 and bool(costs.max() > 10 * costs.min()))
        common.finish(ax, chart, size, common.interval_note(chart.data))
    return ax


def with_costs(chart: Chart, axes: Any = None) -> Axes:
    """Draw `lines` over the axis `x`, over the parameters and over the MACs.

    The three panels are side by side, with a row of panels for each value of the other axes. In one column of a paper,
    they are below one another, with a column of panels for each value. `axes` is an array of that shape.
    Returns the first panel.
    """
    summary = common.with_finished_runs(chart)
    # A row is named by its operator's label and by its values of the other axes.
    names = zip(summary["row"], summary["label"], strict=True)
    others = pd.Series([row.removeprefix(label).removeprefix(", ") for row, label in names], index=summary.index)
    titles = others.drop_duplicates().tolist()
    positions = common.positions_along(summary[chart.x])
    columns: dict[Any, str] = {chart.x: chart.x_label, **_COSTS}
    size = chart.size or PAGE
    narrow = size.width <= COLUMN.width
    shape = (len(columns), len(titles)) if narrow else (len(titles), len(columns))
    size = size.with_height((1.9 if narrow else 2.3) * shape[0] + 0.6)
    with common.drawing_panels(size, axes, *shape, sharey="col" if narrow else "row") as grid:
        for panels, title in zip(grid.T if narrow else grid, titles, strict=True):
            here = summary[(others == title) & (summary["n"] > 0)]
            for ax, (column, label) in zip(panels, columns.items(), strict=True):
                for _, points in here.assign(row=here["label"]).groupby("operator", sort=False):
                    at = [positions[value] if column == chart.x else value for value in points[column]]
                    common.line(ax, points, at)
                if column == chart.x:
                    texts = list(map(str, positions))
                    turned = {"rotation": 30, "ha": "right"} if max(map(len, texts)) > _LONG_TICK else {}
                    ax.set_xticks(list(positions.values()), texts, **turned)
                else:
                    _cost_axis(ax, logarithmic=True)
                ax.set_xlabel(label)
                common.grid(ax, "y")
            panels[0].set_title(title, loc="left")
        first: Axes = grid[0][0]
        for ax in grid.flat:
            common.stay_near_percents(ax, chart)
        common.around([first], chart, size, common.interval_note(summary) + _means_below_the_axis(chart, summary))
    return first


def _means_below_the_axis(chart: Chart, summary: pd.DataFrame) -> str:
    below = summary["mean"][summary["mean"] < common.PERCENTS[0]]
    if "%" not in chart.y_label or not len(below):
        return ""
    return f"; below the axis: {numbers.counted(len(below), 'mean')}, down to {numbers.number(below.min())}"


def _cost_axis(ax: Axes, logarithmic: bool) -> None:
    if logarithmic:
        ax.set_xscale("log", subs=[])
        ax.xaxis.set_major_locator(CostLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS))
    ax.xaxis.set_major_formatter(lambda value, _: numbers.short_count(value))
    ax.xaxis.set_minor_formatter("")
