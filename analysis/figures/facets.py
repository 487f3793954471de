"""A metric against an axis of numbers in small panels, for more rows than one panel can tell apart."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import common
from analysis.figures.common import COLUMN, PAGE, begun, line, new_grid, ticks
from analysis.figures.style import Size
from lightning_xvol.config import registry

_STATIC = "_static"
_ACROSS = 3  # panels of a page
_LEGEND = {False: "row above the panel", True: "its static control"}


def facets(
    summary: pd.DataFrame,
    x: str,
    x_label: str,
    y_label: str,
    smoke: bool = False,
    size: Size | None = None,
    axes: Any = None,
) -> Axes:
    """`lines` in panels: one for each row, with its static control, beside the first row, the baseline.

    Panels share their axes. A row has the look of its operator, and its name above its panel. `axes` is an array of at
    least as many. Returns the first.
    """
    summary = begun(summary, "row", x)
    baseline, *others = summary["operator"].drop_duplicates().tolist()
    families = list(dict.fromkeys(name.removesuffix(_STATIC) for name in others)) or [baseline]
    size = size or PAGE
    across = min(len(families), 2 if size.width <= COLUMN.width else _ACROSS)
    down = -(-len(families) // across)
    size = size.with_height(1.6 * down + 0.9)
    if axes is None:
        axes = new_grid(size, down, across, sharex=True, sharey=True)
    values = ticks(summary[x])
    places = dict(zip(values, values if common.numeric(summary[x]) else range(len(values)), strict=True))
    with matplotlib.rc_context(size.rc()):
        panels = list(np.asarray(axes).flat)
        for ax in panels[len(families) :]:
            ax.set_visible(False)
        for ax, family in zip(panels, families, strict=False):
            own = summary["operator"].isin([family, family + _STATIC])
            for operator, points in summary[own | (summary["operator"] == baseline)].groupby("operator", sort=False):
                line(ax, points if operator == baseline else _as_its_kind(points), [places[at] for at in points[x]])
            ax.set_title(summary.loc[own, "row"].iloc[0], loc="left")
            ax.set_xticks(list(places.values()), list(map(str, places)))
            ax.set_xlabel(x_label)
            ax.label_outer()
            common.grid(ax, "y")
        if "%" in y_label:
            panels[0].set_ylim(*common.near_percents(panels[0].get_ylim()))
        common.around(panels, y_label, common.interval_note(summary), smoke, size)
    first: Axes = panels[0]
    return first


def _as_its_kind(points: pd.DataFrame) -> pd.DataFrame:
    """One row's points, named as the legend of all panels names them, with the look of its registered operator."""
    operator = str(points["operator"].iloc[0])
    static = operator.endswith(_STATIC)
    known = [name for name in registry.OPERATORS if f"{operator}_".startswith(f"{name}_")]
    kind = max(known, key=len, default=operator.removesuffix(_STATIC))
    return points.assign(operator=kind + _STATIC * static, row=_LEGEND[static])
