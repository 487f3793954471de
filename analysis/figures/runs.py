"""The single runs behind the means: their values and their learning curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import common, legend, marks, text, view
from analysis.figures.categories import finish_rows, for_rows, show_groups, show_rows
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN, PAGE
from analysis.figures.lines import draw_constant
from analysis.figures.style import Size, style
from analysis.statistics import FEWEST_SEEDS

_MANY_STRIPS = 12
# In widths of a strip:
_ASIDE = 0.2  # the distance from its middle to the dots on one side, and to the mean on the other
_SPREAD = 0.12  # of the dots, to each side
_PANELS_ACROSS = 4


def seeds(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw a dot for each run, beside the mean of its row with the 95 % interval. Dots are in the order of the seeds.

    Each run has the columns `n`, `mean`, `ci_low` and `ci_high` of its row. One or two runs are drawn without a mean.

    The values of the axis `x` are evenly spaced. Without an axis, each row has a line of the figure, and the metric is
    on the horizontal axis. A row with the same runs at every value is a level line with a band.
    """
    across = chart.x is None
    means = _means(chart.data, ["row"] if chart.x is None else ["row", chart.x])
    fixed = common.constant_rows(means, chart.x)
    rows = common.row_names(means)
    moving = [row for row in rows if row not in fixed]
    values = [None] if across else common.values_along(means[chart.x])
    if across:
        size = for_rows(chart, rows)
    else:
        size = common.under_legend(chart.sized(PAGE if len(moving) * len(values) > _MANY_STRIPS else COLUMN), rows)
    width = 0.8 if across else 0.8 / max(1, len(moving))
    with common.drawing(size, ax) as ax:
        if across:
            show_rows(ax, rows)
        else:
            show_groups(ax, len(values))
        view.show_metric(ax, chart, means, across)
        for row in fixed:
            draw_constant(ax, means[means["row"] == row])
        for place in means.index[means["row"].isin(moving)]:
            mean = means.loc[[place]]
            number = moving.index(mean["row"].iloc[0])
            group = 0 if across else values.index(mean[chart.x].iloc[0])
            middle = number if across else group + width * (number - (len(moving) - 1) / 2)
            _strip(ax, middle, width, mean, across, size)
        if across:
            finish_rows(ax, chart, size, _remark(means))
        else:
            places = {value: float(place) for place, value in enumerate(values)}
            common.label_values(ax, places, common.points_across(size) / len(values), size)
            common.finish(ax, chart, size, _remark(means))
    return ax


def _remark(means: pd.DataFrame) -> str:
    beside = "; beside them their mean with its 95 % interval" if means["n"].max() >= FEWEST_SEEDS else ""
    return f"Dots: runs, one for each seed (n = {common.span(sorted(means['n']))}){beside}"


def _means(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A row per group of `keys` with `operator`, `n`, `mean`, `ci_low`, `ci_high`, and `runs`, its values by seed."""
    columns = [name for name in ("operator", "group_id", "n", "mean", "ci_low", "ci_high") if name in runs]
    means = runs.drop_duplicates(keys)[[*keys, *columns]].reset_index(drop=True)
    values = {key: tuple(own.sort_values("seed")["value"]) for key, own in runs.groupby(keys, sort=False)}
    return means.assign(runs=[values[key] for key in means[keys].itertuples(index=False, name=None)])


def _strip(ax: Axes, middle: float, width: float, mean: pd.DataFrame, across: bool, size: Size) -> None:
    row, look = mean["row"].iloc[0], marks.look_of(mean)
    values = mean["runs"].iloc[0]
    spread = np.linspace(-_SPREAD, _SPREAD, len(values)) if len(values) > 1 else np.zeros(1)
    at, beside = middle + width * (spread - _ASIDE), middle + width * _ASIDE
    runs: Any = {"color": look.color, "marker": ".", "markersize": 5.0 * size.scale, "linestyle": "none"}
    runs |= {"alpha": 0.35 if len(values) >= marks.MANY_SEEDS else 0.8, "markeredgewidth": 0}
    shown = mean[mean["n"] >= FEWEST_SEEDS]
    point: Any = {"color": look.color, "marker": look.marker, "linestyle": "none", "markerfacecolor": look.fill}
    if across:
        ax.plot(values, at, **runs)
        ax.plot(shown["mean"], [beside] * len(shown), **point)
    else:
        ax.plot(at, values, **runs)
        named = None if row in legend.handles([ax]) else legend.label(row)
        ax.plot([beside] * len(shown), shown["mean"], label=named, **point)
    place = np.array([beside], dtype=float)
    marks.interval(ax, place, mean, look.color, ax.transData, across)
    marks.arrows(ax, place, mean, look.color, 0.0, across)


def learning(chart: Chart, axes: Any = None) -> Axes:
    """Draw learning curves: a thin line for each run, and a thick line for the mean of a row.

    The mean covers the epochs that every run of the row has. There is a panel for each value of the column `x`, or one
    panel without this column. `axes` is an array of at least as many axes as panels. Returns the first panel.
    """
    epochs, column = chart.data, chart.x
    values = [None] if column is None else common.values_along(epochs[column])
    labels = [] if column == "row" else common.row_names(epochs)
    size = chart.sized(COLUMN if len(values) <= 2 else PAGE)
    across = common.panels_across(size, len(values), 2 if size.width <= COLUMN.width else _PANELS_ACROSS)
    down = -(-len(values) // across)
    size = size.with_height(max(1.35 * down, 1.9) + 0.5 + legend.LINE * legend.lines(labels, size))
    with common.drawing_panels(size, axes, down, across, sharey=True) as grid:
        panels = common.first_panels(grid, len(values))
        unknown = dict.fromkeys(("ci_low", "ci_high"), np.nan)
        view.show_metric(panels[0], chart, pd.DataFrame({"n": 1, "mean": epochs["value"], **unknown}))
        for number, (ax, value) in enumerate(zip(panels, values, strict=True)):
            _curves(ax, epochs if column is None else epochs[epochs[column] == value], size)
            if column is not None:
                ax.set_title(text.value_of(chart.x_label, value), loc="left")
            if number + across >= len(values):
                ax.set_xlabel("epoch")
        note = f"Thin: runs, one for each seed (n = {_counts(epochs)}); thick: their mean"
        common.around(panels, chart, size, note, named=column != "row")
    return panels[0]


def _curves(ax: Axes, epochs: pd.DataFrame, size: Size) -> None:
    point: Any = {"marker": "."} if epochs["epoch"].nunique() == 1 else {}  # a line of one point shows nothing
    for row, own in epochs.groupby("row", sort=False):
        look = style(own["operator"].iloc[0])
        runs = own.pivot(index="epoch", columns="seed", values="value")
        ax.plot(runs.index, runs, color=look.color, linewidth=0.5 * size.scale, alpha=0.5, **point)
        mean = runs.dropna().mean(axis=1)
        thick: Any = {"color": look.color, "linestyle": look.linestyle, "linewidth": 1.4 * size.scale}
        thick |= {"marker": look.marker, "markersize": 3.0 * size.scale, "markerfacecolor": look.fill}
        thick |= {"markevery": max(1, len(mean) // 6), **point}
        ax.plot(mean.index, mean, label=legend.label(str(row)), **thick)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    common.grid(ax, "y")


def _counts(epochs: pd.DataFrame) -> str:
    keys = [name for name in epochs.columns if name not in ("seed", "epoch", "value")]
    counts = epochs.groupby(keys)["seed"].nunique()
    return common.span(sorted(counts))
