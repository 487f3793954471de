"""The single runs behind the means: their values and their learning curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import common
from analysis.figures.categories import finish_rows, for_rows
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN, PAGE
from analysis.figures.style import Size, style
from analysis.statistics import FEWEST_SEEDS

_MANY_STRIPS = 12
# In widths of a strip:
_ASIDE = 0.2  # the distance from its middle to the dots on one side, and to the mean on the other
_SPREAD = 0.12  # of the dots, to each side
_PANELS_ACROSS = 4


def seeds(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw a dot for each run, beside the mean of its row with the 95 % interval. Dots are in the order of the seeds.

    Each run has the columns `n`, `mean`, `ci_low` and `ci_high` of its row. One or two runs stand without a mean.

    The values of the axis `x` are evenly spaced. Without an axis, each row has a line of the figure and the metric runs
    across.
    """
    runs, across = chart.data, chart.x is None
    means = _means(runs, ["row"] if chart.x is None else ["row", chart.x])
    rows = common.row_names(runs)
    values = [None] if across else common.values_along(runs[chart.x])
    if across:
        size = for_rows(chart.size, rows)
    else:
        size = chart.size or (PAGE if len(rows) * len(values) > _MANY_STRIPS else COLUMN)
        size = common.under_legend(size, rows)
    width = 0.8 if across else 0.8 / len(rows)
    with common.drawing(size, ax) as ax:
        for _, mean in means.iterrows():
            number = rows.index(mean["row"])
            own = runs[(runs["row"] == mean["row"]) & (across or runs[chart.x] == mean[chart.x])].sort_values("seed")
            middle = number if across else values.index(mean[chart.x]) + width * (number - (len(rows) - 1) / 2)
            _strip(ax, middle, width, own, mean.to_frame().T, across, size)
        if across:
            finish_rows(ax, chart, size, rows, _remark(means))
        else:
            ax.set_xticks(range(len(values)), [str(value) for value in values])
            common.finish(ax, chart, size, _remark(means))
    return ax


def _remark(means: pd.DataFrame) -> str:
    beside = "; beside them their mean with its 95 % interval" if means["n"].max() >= FEWEST_SEEDS else ""
    return f"Dots: runs, one for each seed (n = {common.span(sorted(means['n']))}){beside}"


def _means(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A row per group of `keys` with `operator`, `n`, `mean`, `ci_low` and `ci_high`."""
    return runs.drop_duplicates(keys)[[*keys, "operator", "n", "mean", "ci_low", "ci_high"]]


def _strip(
    ax: Axes, middle: float, width: float, runs: pd.DataFrame, mean: pd.DataFrame, across: bool, size: Size
) -> None:
    look = style(runs["operator"].iloc[0])
    spread = np.linspace(-_SPREAD, _SPREAD, len(runs)) if len(runs) > 1 else np.zeros(1)
    at, beside = middle + width * (spread - _ASIDE), middle + width * _ASIDE
    dots: Any = {"color": look.color, "marker": ".", "markersize": 3.5 * size.scale, "linestyle": "none"}
    dots |= {"alpha": 0.35 if len(runs) >= common.MANY_SEEDS else 0.8}
    shown = mean[mean["n"] >= FEWEST_SEEDS]
    point: Any = {"color": look.color, "marker": look.marker, "linestyle": "none"}
    point |= {"markerfacecolor": look.fill}
    values = runs["value"].to_numpy()
    if across:
        ax.plot(values, at, **dots)
        ax.plot(shown["mean"], [beside] * len(shown), **point)
    else:
        label = runs["row"].iloc[0]
        known = common.legend_handles(ax)
        ax.plot(at, values, **dots)
        named = None if label in known else common.legend_label(label)
        ax.plot([beside] * len(shown), shown["mean"], label=named, **point)
    common.interval(ax, [beside], mean, look.color, across)


def learning(chart: Chart, axes: Any = None) -> Axes:
    """Draw learning curves: a thin line for each run, and a thick line for the mean of a row.

    The mean covers the epochs that every run of the row has. There is a panel for each value of the column `x`, or one
    panel without this column. `axes` is an array of at least as many axes as panels. Returns the first panel.
    """
    epochs, column = chart.data, chart.x
    values = [None] if column is None else common.values_along(epochs[column])
    labels = [] if column == "row" else common.row_names(epochs)
    size = chart.size or (COLUMN if len(values) <= 2 else PAGE)
    down = -(-len(values) // (2 if size.width <= COLUMN.width else _PANELS_ACROSS))
    across = -(-len(values) // down)
    size = size.with_height(max(1.35 * down, 1.9) + 0.5 + 0.15 * len(labels) / common.legend_columns(labels, size))
    with common.drawing_panels(size, axes, down, across, sharey=True) as grid:
        panels = common.first_panels(grid, len(values))
        for number, (ax, value) in enumerate(zip(panels, values, strict=True)):
            _curves(ax, epochs if column is None else epochs[epochs[column] == value], size)
            if column is not None:
                title = f"{chart.x_label} = {value}" if chart.x_label and not number else str(value)
                ax.set_title(title, loc="left")
            if number + across >= len(values):
                ax.set_xlabel("epoch")
        note = f"Thin: runs, one for each seed (n = {_counts(epochs)}); thick: their mean"
        common.around(panels, chart, size, note, legend=column != "row")
    return panels[0]


def _curves(ax: Axes, epochs: pd.DataFrame, size: Size) -> None:
    point: Any = {"marker": "."} if epochs["epoch"].nunique() == 1 else {}  # a line of one point shows nothing
    for row, own in epochs.groupby("row", sort=False):
        look = style(own["operator"].iloc[0])
        runs = own.pivot(index="epoch", columns="seed", values="value")
        ax.plot(runs.index, runs, color=look.color, linewidth=0.5 * size.scale, alpha=0.5, **point)
        mean = runs.dropna().mean(axis=1)
        thick: Any = {"color": look.color, "linestyle": look.linestyle, "linewidth": 1.4 * size.scale, **point}
        ax.plot(mean.index, mean, label=common.legend_label(row), **thick)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    common.grid(ax, "y")


def _counts(epochs: pd.DataFrame) -> str:
    keys = [name for name in epochs.columns if name not in ("seed", "epoch", "value")]
    counts = epochs.groupby(keys)["seed"].nunique()
    return common.span(sorted(counts))
