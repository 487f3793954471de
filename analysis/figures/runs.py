"""Single runs behind the means: their values, and how they learned."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures import common
from analysis.figures.categories import finish_rows, for_rows
from analysis.figures.common import COLUMN, PAGE, finish, interval, new_axes, new_grid, ticks, under_legend
from analysis.figures.style import Size, style
from analysis.statistics import estimate

_MANY_STRIPS = 12
_ASIDE = 0.2  # of a strip: runs lie to one side of its middle, mean and interval to the other
_SPREAD = 0.12  # of a strip, to each side of where the runs lie
_PANELS_ACROSS = 4


def seeds(
    runs: pd.DataFrame,
    x: str | None,
    x_label: str,
    y_label: str,
    smoke: bool = False,
    size: Size | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A dot per run beside the mean of its row and the 95 % interval; `runs` has `row`, `operator`, `seed`, `value`.

    Against the axis `x`, evenly spaced, or, without one, a line of the figure per row. Runs lie in the order of seeds.
    """
    means = _means(runs, ["row"] if x is None else ["row", x])
    rows = runs["row"].drop_duplicates().tolist()
    values = [None] if x is None else ticks(runs[x])
    across = x is None
    if across:
        size = for_rows(size, rows)
    else:
        size = under_legend(size or (PAGE if len(rows) * len(values) > _MANY_STRIPS else COLUMN), rows)
    if ax is None:
        ax = new_axes(size)
    width = 0.8 if across else 0.8 / len(rows)
    with matplotlib.rc_context(size.rc()):
        for _, mean in means.iterrows():
            place = rows.index(mean["row"])
            own = runs[(runs["row"] == mean["row"]) & (across or runs[x] == mean[x])].sort_values("seed")
            middle = place if across else values.index(mean[x]) + width * (place - (len(rows) - 1) / 2)
            _strip(ax, middle, width, own, mean.to_frame().T, across, size)
        if across:
            finish_rows(ax, rows, y_label, _remark(means), smoke, size)
        else:
            ax.set_xticks(range(len(values)), [str(value) for value in values])
            finish(ax, x_label, y_label, _remark(means), smoke, size)
    return ax


def _remark(means: pd.DataFrame) -> str:
    interval = " with its 95 % interval (Student's t)" if means["n"].max() > 1 else ""
    return f"Dots: runs, one for each seed (n = {common.span(sorted(means['n']))}); beside them their mean{interval}"


def _means(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """A row per group with `operator`, `n`, `mean`, `ci_low` and `ci_high`."""
    rows = []
    for key, group in runs.groupby(keys, sort=False):
        found = estimate(group["value"].tolist())
        values = {"n": found.n, "mean": found.mean, "ci_low": found.low, "ci_high": found.high}
        rows.append({**dict(zip(keys, key, strict=True)), "operator": group["operator"].iloc[0], **values})
    return pd.DataFrame(rows, columns=[*keys, "operator", "n", "mean", "ci_low", "ci_high"])


def _strip(
    ax: Axes, middle: float, width: float, runs: pd.DataFrame, mean: pd.DataFrame, across: bool, size: Size
) -> None:
    look = style(runs["operator"].iloc[0])
    spread = np.linspace(-_SPREAD, _SPREAD, len(runs)) if len(runs) > 1 else np.zeros(1)
    at, beside = middle + width * (spread - _ASIDE), middle + width * _ASIDE
    dots: Any = {"color": look.color, "marker": ".", "markersize": 3.5 * size.scale, "alpha": 0.7, "linestyle": "none"}
    point: Any = {"color": look.color, "marker": look.marker, "linestyle": "none"}
    point |= {"markerfacecolor": "white" if look.hollow else look.color}
    values = runs["value"].to_numpy()
    if across:
        ax.plot(values, at, **dots)
        ax.plot(mean["mean"], [beside], **point)
    else:
        label = runs["row"].iloc[0]
        known = common.legend_entries(ax)
        ax.plot(at, values, **dots)
        ax.plot([beside], mean["mean"], label=None if label in known else common.entry(label), **point)
    interval(ax, [beside], mean, look.color, across)


def learning(
    epochs: pd.DataFrame,
    panel: str | None,
    panel_label: str,
    y_label: str,
    smoke: bool = False,
    size: Size | None = None,
    axes: Any = None,
) -> Axes:
    """Learning curves: a thin line per run, a thick one for the mean of a row where each of its runs has the epoch.

    `epochs` has `row`, `operator`, `seed`, `epoch`, `value`; a panel for each value of its column `panel`. `axes` is an
    array of at least as many. Returns the first.
    """
    values = [None] if panel is None else ticks(epochs[panel])
    rows = epochs["row"].drop_duplicates().tolist()
    size = size or (COLUMN if len(values) <= 2 else PAGE)
    down = -(-len(values) // (2 if size.width <= COLUMN.width else _PANELS_ACROSS))
    across = -(-len(values) // down)
    labels = [] if panel == "row" else rows
    size = size.with_height(max(1.35 * down, 1.9) + 0.5 + 0.15 * len(labels) / common.legend_columns(labels, size))
    if axes is None:
        axes = new_grid(size, down, across, sharey=True)
    with matplotlib.rc_context(size.rc()):
        panels = list(np.asarray(axes).flat)
        for ax in panels[len(values) :]:
            ax.set_visible(False)
        for place, (ax, value) in enumerate(zip(panels, values, strict=False)):
            _curves(ax, epochs if panel is None else epochs[epochs[panel] == value], size)
            if panel is not None:
                ax.set_title(f"{panel_label} = {value}" if panel_label and not place else str(value), loc="left")
            if place + across >= len(values):
                ax.set_xlabel("epoch")
        note = f"Thin: runs, one for each seed (n = {_counts(epochs)}); thick: their mean"
        common.around(panels, y_label, note, smoke, size, legend=panel != "row")
    first: Axes = panels[0]
    return first


def _curves(ax: Axes, epochs: pd.DataFrame, size: Size) -> None:
    point: Any = {"marker": "."} if epochs["epoch"].nunique() == 1 else {}  # a line of one point shows nothing
    for row, own in epochs.groupby("row", sort=False):
        look = style(own["operator"].iloc[0])
        runs = own.pivot(index="epoch", columns="seed", values="value")
        ax.plot(runs.index, runs, color=look.color, linewidth=0.5 * size.scale, alpha=0.5, **point)
        mean = runs.dropna().mean(axis=1)
        thick: Any = {"color": look.color, "linestyle": look.linestyle, "linewidth": 1.4 * size.scale, **point}
        ax.plot(mean.index, mean, label=common.entry(row), **thick)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    common.grid(ax, "y")


def _counts(epochs: pd.DataFrame) -> str:
    keys = [name for name in epochs.columns if name not in ("seed", "epoch", "value")]
    counts = epochs.groupby(keys)["seed"].nunique()
    return common.span(sorted(counts))
