"""How figures show the runs of a row, by their number (docs/statistics.md).

One run is a marker. Two runs are two dots. Three or more runs are a marker for their mean, its 95 % interval, and a dot
for each run. From five runs on, the dots are faint. If an axis cannot show all of this, there is an arrow at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.markers import CARETDOWN, CARETLEFT, CARETRIGHT, CARETUP
from matplotlib.transforms import ScaledTranslation, Transform, blended_transform_factory

from analysis.figures.style import Style, style
from analysis.statistics import FEWEST_SEEDS

MANY_SEEDS = 5  # from here on, single runs are faint beside their interval
RUNS = "_runs"
ARROWS = "_arrows"
"""The labels of dots and of arrows; matplotlib leaves labels with an underscore out of legends."""
_STEP = 3.2  # points between the rows at one value of a numeric axis
_AT_MOST = 0.35  # the largest share of the distance between two values, for all rows together


def steps(rows: int, gap: float, step: float = _STEP, at_most: float = _AT_MOST) -> list[float]:
    """The shift of each of so many rows along the axis in points. Two values of the axis are `gap` points apart."""
    step = min(step, at_most * gap / max(1, rows - 1))
    return [step * (number - (rows - 1) / 2) for number in range(rows)]


def aside(ax: Axes, points: float, across: bool = False) -> Transform:
    """Data coordinates that are moved by `points` along the axis without the metric. `across`: see `estimates`."""
    moved = (0.0, -points / 72) if across else (points / 72, 0.0)
    return ax.transData + ScaledTranslation(*moved, ax.figure.dpi_scale_trans)


def estimates(
    ax: Axes, positions: Sequence[float], means: pd.DataFrame, look: Style, label: str, shift: float = 0.0,
    across: bool = False, joined: bool = False,
) -> None:  # fmt: skip
    """Draw the estimates of one row at `positions`, moved by `shift` points. The limits of the axes must be set before.

    Args:
        ax: The axes.
        positions: A position for each row of `means`.
        means: The columns `n`, `mean`, `ci_low`, `ci_high` and `runs`.
        look: Colour, marker and dash.
        label: The text of the legend.
        shift: In points, to the right or down.
        across: Whether the metric is on the horizontal axis.
        joined: Whether a line joins the means.
    """
    at, place = np.asarray(positions, dtype=float), aside(ax, shift, across)
    values = means["mean"].to_numpy(dtype=float)
    ax.plot(
        *((values, at) if across else (at, values)), transform=place, label=label, color=look.color,
        linestyle=look.linestyle if joined else "none", marker=look.marker, markerfacecolor=look.fill,
        markevery=[number for number, n in enumerate(means["n"]) if n != FEWEST_SEEDS - 1], zorder=2.3,
    )  # fmt: skip
    interval(ax, at, means, look.color, place, across)
    dots(ax, at, means, look, place, across)
    arrows(ax, at, means, look.color, shift, across)


def interval(
    ax: Axes, at: np.ndarray, means: pd.DataFrame, color: str, place: Transform, across: bool, zorder: float = 2.1
) -> None:
    """The 95 % intervals of those `means` that have three runs or more."""
    has_bar = (means["n"] >= FEWEST_SEEDS).to_numpy(dtype=bool)
    if not has_bar.any():
        return
    low, mean, high = (means[name].to_numpy(dtype=float)[has_bar] for name in ("ci_low", "mean", "ci_high"))
    widths = np.stack([mean - low, high - mean])  # [2, T]
    look: Any = {"ecolor": color, "elinewidth": 0.9, "capsize": 1.6, "capthick": 0.9, "zorder": zorder, "fmt": "none"}
    if across:
        ax.errorbar(mean, at[has_bar], xerr=widths, transform=place, **look)
    else:
        ax.errorbar(at[has_bar], mean, yerr=widths, transform=place, **look)


def dots(ax: Axes, at: np.ndarray, means: pd.DataFrame, look: Style, place: Transform, across: bool) -> None:
    """A dot for each run of those `means` that have several runs: the row's marker for two, faint dots for many."""
    for position, n, runs in zip(at, means["n"], means["runs"], strict=True):
        if n < FEWEST_SEEDS - 1:
            continue
        places = [position] * len(runs)
        kind = _dot(n, look.color)
        if n == FEWEST_SEEDS - 1:
            kind |= {"marker": look.marker, "markersize": 0.85 * _marker_size(), "markerfacecolor": look.fill}
            kind |= {"markeredgecolor": look.color, "markeredgewidth": 0.8}
        ax.plot(*((list(runs), places) if across else (places, list(runs))), transform=place, **kind)


def _marker_size() -> float:
    """The size of the marker of a mean; it grows with the text."""
    return float(rcParams["lines.markersize"])


def _dot(n: int, color: str) -> dict[str, Any]:
    return {
        "color": color, "marker": "o", "markersize": 0.72 * _marker_size(), "markeredgecolor": "white",
        "markeredgewidth": 0.3, "linestyle": "none", "label": RUNS, "alpha": 0.9 if n < MANY_SEEDS else 0.4,
        "zorder": 2.2,
    }  # fmt: skip


def arrows(ax: Axes, at: np.ndarray, means: pd.DataFrame, color: str, shift: float, across: bool) -> None:
    """An arrow at each end of the metric's axis that a mean, a run or an interval passes."""
    own = means[means["n"] > 0]
    at = at[(means["n"] > 0).to_numpy(dtype=bool)]
    low, high = ax.get_xlim() if across else ax.get_ylim()
    for end, sign, marker in (
        (low, -1, CARETLEFT if across else CARETDOWN),
        (high, 1, CARETRIGHT if across else CARETUP),
    ):
        passes = [sign * _outermost(mean, sign) > sign * end for mean in own.to_dict("records")]
        if any(passes):
            ends = [end] * sum(passes)
            ax.plot(
                *((ends, at[passes]) if across else (at[passes], ends)), transform=aside(ax, shift, across),
                color=color, marker=marker, markersize=_marker_size(), markeredgewidth=0, linestyle="none",
                clip_on=False, label=ARROWS, zorder=2.6,
            )  # fmt: skip


def _outermost(mean: dict[str, Any], sign: int) -> float:
    """The end of what is drawn of `mean` in the direction `sign`."""
    values = [mean["mean"], *mean["runs"]]
    if mean["n"] >= FEWEST_SEEDS:
        values.append(mean["ci_high"] if sign > 0 else mean["ci_low"])
    known = [float(value) for value in values if value == value]
    return sign * max((sign * value for value in known), default=-np.inf)


def constant(ax: Axes, mean: pd.Series, look: Style, label: str, across: bool = False) -> None:
    """Draw a row that does not vary along the axis: a line with the band of its interval, or two runs as two lines."""
    draw, fill = (ax.axvline, ax.axvspan) if across else (ax.axhline, ax.axhspan)
    values = mean["runs"] if mean["n"] == FEWEST_SEEDS - 1 else [mean["mean"]]
    for number, value in enumerate(values):
        draw(
            value, color=look.color, linestyle=look.linestyle, linewidth=1.1 / len(values), zorder=1.6,
            label=RUNS if number else label,
        )  # fmt: skip
    if mean["n"] < FEWEST_SEEDS:
        return
    fill(mean["ci_low"], mean["ci_high"], color=look.color, alpha=0.12, linewidth=0, zorder=0.6)
    edge = blended_transform_factory(ax.transData, ax.transAxes) if across else ax.get_yaxis_transform()
    at = [0.985 if across else 0.015] * len(mean["runs"])
    ax.plot(*((mean["runs"], at) if across else (at, mean["runs"])), transform=edge, **_dot(mean["n"], look.color))


def look_of(means: pd.DataFrame) -> Style:
    return style(means["operator"].iloc[0])
