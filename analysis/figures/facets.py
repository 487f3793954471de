"""A metric over an axis of numbers in small panels, for more rows than one panel can show."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import common
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN, PAGE
from lightning_xvol.config import registry

_STATIC = "_static"
_ACROSS = 3  # panels of a page
_LEGEND = {False: "row above the panel", True: "its static control"}


def facets(chart: Chart, axes: Any = None) -> Axes:
    """Draw `lines` in panels: a panel for each row and its static control, both beside the baseline (the first row).

    The panels share their axes. The title of a panel names its row, which has the look of its operator. `axes` is an
    array of at least as many axes as panels. Returns the first panel.
    """
    summary = common.with_finished_runs(chart)
    baseline, *others = summary["operator"].drop_duplicates().tolist()
    families = list(dict.fromkeys(name.removesuffix(_STATIC) for name in others)) or [baseline]
    size = chart.size or PAGE
    across = min(len(families), 2 if size.width <= COLUMN.width else _ACROSS)
    down = -(-len(families) // across)
    size = size.with_height(1.6 * down + 0.9)
    positions = common.positions_along(summary[chart.x])
    with common.drawing_panels(size, axes, down, across, sharex=True, sharey=True) as grid:
        panels = common.first_panels(grid, len(families))
        for ax, family in zip(panels, families, strict=True):
            own = summary["operator"].isin([family, family + _STATIC])
            for operator, points in summary[own | (summary["operator"] == baseline)].groupby("operator", sort=False):
                shown = points if operator == baseline else _as_its_operator(points)
                common.line(ax, shown, [positions[value] for value in points[chart.x]])
            ax.set_title(summary.loc[own, "row"].iloc[0], loc="left")
            ax.set_xticks(list(positions.values()), list(map(str, positions)))
            ax.set_xlabel(chart.x_label)
            ax.label_outer()
            common.grid(ax, "y")
        common.stay_near_percents(panels[0], chart)
        common.around(panels, chart, size, common.interval_note(summary))
    return panels[0]


def _as_its_operator(points: pd.DataFrame) -> pd.DataFrame:
    """The points of a row with the look of its registered operator, and the name that the common legend gives it."""
    operator = str(points["operator"].iloc[0])
    static = operator.endswith(_STATIC)
    known = [name for name in registry.OPERATORS if f"{operator}_".startswith(f"{name}_")]
    registered = max(known, key=len, default=operator.removesuffix(_STATIC))
    return points.assign(operator=registered + _STATIC * static, row=_LEGEND[static])
