"""The part of an axis that a figure shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.chart import Chart
from analysis.statistics import FEWEST_SEEDS

PERCENTS = (-4.0, 104.0)  # the outermost ends of an axis in percent
_MARGIN = 0.04  # the margin at each end, as a share of the shown part
_FLAT = 0.5  # the part that is shown on each side of a single value
_LONG = 3.0  # an interval is shown up to so many half-lengths of the median interval beyond the runs
_ASIDE = 0.06  # the room before the first value of x and after the last, as a share of the axis


def show_metric(ax: Axes, chart: Chart, means: pd.DataFrame, across: bool = False) -> None:
    """Let the axis of the metric show all `means` and their runs, and the useful part of their intervals.

    The axis of a percentage ends at 0 and 100. An interval is shown whole, unless it is so much longer than the others
    that they would look flat. Means far below 0 % are left out too. `arrows` marks all that leaves the axes.
    """
    low, high = _shown(means, chart.is_in_percent)
    if np.isfinite([low, high, high - low]).all():
        flat = high - low <= 1e-9 * abs(high)
        margin = max(_FLAT, 0.01 * abs(high)) if flat else _MARGIN * (high - low)
        (ax.set_xlim if across else ax.set_ylim)(low - margin, high + margin)


def _shown(means: pd.DataFrame, percent: bool) -> tuple[float, float]:
    own = means[means["n"] > 0]
    values = np.array([*own["mean"], *(value for runs in own.get("runs", ()) for value in runs)], dtype=float)
    values = values[np.isfinite(values)]
    if percent:
        values = values[values >= PERCENTS[0]]
    if not len(values):
        return np.nan, np.nan
    low, high = float(values.min()), float(values.max())
    ends = own.loc[own["n"] >= FEWEST_SEEDS, ["ci_low", "ci_high"]].to_numpy(dtype=float)
    ends = ends[np.isfinite(ends).all(axis=1)]
    if len(ends):
        room = max(high - low, _LONG * float(np.median(ends[:, 1] - ends[:, 0])) / 2)
        ends = np.clip(ends, low - room, high + room)
        if percent:
            ends = np.clip(ends, min(low, 0.0), max(high, 100.0))
        low, high = min(low, float(ends.min())), max(high, float(ends.max()))
    return low, high


def length(positions: Sequence[float]) -> float:
    """The length of an x axis that shows `positions`, in their unit."""
    return (1 + 2 * _ASIDE) * (max(positions) - min(positions)) or 2 * _FLAT


def show_values(ax: Axes, positions: Iterable[float]) -> None:
    """Let the x axis show `positions`, with room for what stands beside the outermost."""
    found = list(positions)
    if found:
        left, right = min(found), max(found)
        aside = _ASIDE * (right - left) or _FLAT
        ax.set_xlim(left - aside, right + aside)
