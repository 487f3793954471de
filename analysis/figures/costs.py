"""A metric against what runs cost: parameters, multiply-adds, seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import Locator, MaxNLocator

from analysis import numbers
from analysis.figures import common
from analysis.figures.common import COLUMN, PAGE, begun, finish, line, new_axes, new_grid, numeric, ticks, under_legend
from analysis.figures.style import Size

_LONG_TICK = 5  # characters that stand beside one another in a panel
_MOST_TICKS = 4
_MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
_COSTS = {"params": "parameters", "macs": "MACs per map"}


class CostLocator(Locator):
    """Two to four round ticks on a logarithmic axis, however short it is."""

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


def scatter(
    summary: pd.DataFrame,
    x: str,
    x_label: str,
    y_label: str,
    smoke: bool = False,
    size: Size | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The mean against what a run costs (the column `x`): a point per row, the 95 % interval as an error bar.

    The x axis is logarithmic where costs differ tenfold. A row without a finished run has no point.
    """
    points = summary[summary["n"] > 0]
    size = under_legend(size or COLUMN, points["row"].tolist())
    if ax is None:
        ax = new_axes(size)
    with matplotlib.rc_context(size.rc()):
        for place in points.index:
            line(ax, points.loc[[place]], [float(points.loc[place, x])], joined=False)
        _cost_axis(ax, logarithmic=len(points) > 0 and bool(points[x].max() > 10 * points[x].min()))
        finish(ax, x_label, y_label, common.interval_note(summary), smoke, size)
    return ax


def with_costs(
    summary: pd.DataFrame,
    x: str,
    x_label: str,
    y_label: str,
    smoke: bool = False,
    size: Size | None = None,
    axes: Any = None,
) -> Axes:
    """`lines` against the axis `x`, against parameters and against MACs.

    Side by side, with a row of panels for each value of the other axes; in one column of a paper one below the other,
    with a column of panels for each. `axes` is an array of that shape. Returns its first.
    """
    summary = begun(summary, "row", x)
    # What `row` says beyond the operator's label: the values of the other axes.
    names = zip(summary["row"], summary["label"], strict=True)
    place = pd.Series([row.removeprefix(label).removeprefix(", ") for row, label in names], index=summary.index)
    places = place.drop_duplicates().tolist()
    values = ticks(summary[x])
    positions = dict(zip(values, values if numeric(summary[x]) else range(len(values)), strict=True))
    columns = {x: x_label, **_COSTS}
    size = size or PAGE
    narrow = size.width <= COLUMN.width
    shape = (len(columns), len(places)) if narrow else (len(places), len(columns))
    size = size.with_height((1.9 if narrow else 2.3) * shape[0] + 0.6)
    if axes is None:
        axes = new_grid(size, *shape, sharey="col" if narrow else "row")
    with matplotlib.rc_context(size.rc()):
        for panels, name in zip(np.asarray(axes).T if narrow else axes, places, strict=True):
            here = summary[place == name]
            for ax, (column, label) in zip(panels, columns.items(), strict=True):
                for _, points in here[here["n"] > 0].assign(row=here["label"]).groupby("operator", sort=False):
                    line(ax, points, [positions[value] if column == x else value for value in points[column]])
                if column == x:
                    names_of_ticks = list(map(str, positions))
                    turned = {"rotation": 30, "ha": "right"} if max(map(len, names_of_ticks)) > _LONG_TICK else {}
                    ax.set_xticks(list(positions.values()), names_of_ticks, **turned)
                else:
                    _cost_axis(ax, logarithmic=True)
                ax.set_xlabel(label)
                common.grid(ax, "y")
            panels[0].set_title(name, loc="left")
        first: Axes = axes[0][0]
        note = common.interval_note(summary)
        if "%" in y_label:
            for ax in np.ravel(axes):
                ax.set_ylim(*common.near_percents(ax.get_ylim()))
            below = summary["mean"][summary["mean"] < common.PERCENTS[0]]
            if len(below):
                note += (
                    f"; below the axis: {numbers.counted(len(below), 'mean')}, down to {numbers.number(below.min())}"
                )
        common.around([first], y_label, note, smoke, size)
    return first


def _cost_axis(ax: Axes, logarithmic: bool) -> None:
    if logarithmic:
        ax.set_xscale("log", subs=[])
        ax.xaxis.set_major_locator(CostLocator())
    else:
        ax.xaxis.set_major_locator(MaxNLocator(_MOST_TICKS))
    ax.xaxis.set_major_formatter(lambda value, _: numbers.short_count(value))
    ax.xaxis.set_minor_formatter("")
