"""The figures of a comparison: the mean of each row under each setting, and the differences to the first."""

from __future__ import annotations

import dataclasses
from typing import Any

from matplotlib.axes import Axes

from analysis.compare.comparison import FIRST, Comparison
from analysis.figures import categories, common, kinds
from analysis.figures.chart import Chart
from analysis.figures.style import PALETTE, SANS, SIZES, Size
from analysis.statistics import FEWEST_SEEDS
from analysis.sweep.figures import MOST_ROWS, OWN, NothingToDrawError
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.surroundings.printing import printable

FIGURES = (OWN, "differences")
"""The mean of each row under each setting, and the differences to the first. Each row has a line of the figure."""
_APART = 0.18  # between the sides of a row, in rows
_LONG_NAME = 20  # characters
_MARKERS = "sD^v"  # of the sides after the first
_BAR: Any = {"fmt": "none", "elinewidth": 0.9, "capsize": 2, "capthick": 0.9}


def figure(
    compared: Comparison, kind: str = OWN, size: Size | None = None, ax: Axes | None = None, style: str = SANS,
    caption: bool = True,
) -> Axes:  # fmt: skip
    """Draw a figure of a comparison and return its axes.

    Args:
        compared: The comparison.
        kind: `figure`: the means; or `differences`: the differences to the first side.
        size, ax, style, caption: As in `analysis.sweep.figures.figure`.

    Raises:
        NothingToDrawError: for more rows than a figure can show, or where no row has a difference.
        UserError: for an unknown kind.
    """
    if kind not in FIGURES:
        close = nearest(str(kind), FIGURES)
        raise UserError(f"a comparison has no kind of figure {kind!r}{close}; known kinds: {', '.join(FIGURES)}")
    crowd = too_many_rows(compared)
    if crowd:
        raise NothingToDrawError(crowd)
    label = compared.layout.metric_label if kind == OWN else _label_of_differences(compared)
    chart = dataclasses.replace(_chart(compared, label), size=size, style=style, caption=caption)
    return kinds.dots(chart, ax) if kind == OWN else _draw_differences(compared, chart, ax)


def _label_of_differences(compared: Comparison) -> str:
    first, *others = compared.names
    what = f"{others[0]} minus {first}" if len(others) == 1 else f"difference to {first}"
    return f"{what}: {compared.layout.metric_label.replace(' (%)', '')} (points), 95 % interval"


def _draw_differences(compared: Comparison, chart: Chart, ax: Axes | None) -> Axes:
    """A line of the figure for each row, with its differences to the first setting."""
    found = chart.data[(chart.data["side"] != FIRST) & chart.data["delta"].notna()]
    if found.empty:
        raise NothingToDrawError("no figure of the differences: every row has a side with fewer than two runs")
    rows, sides = common.row_names(found), list(found["side"].drop_duplicates())
    size = chart.sized(SIZES["page" if max(map(len, rows)) > _LONG_NAME else "column"])
    size = size.with_height(0.7 + 0.22 * len(rows) + 0.15 * (len(sides) > 1))
    with common.drawing(size, ax) as ax:
        ax.axvline(0, color="0.6", linewidth=0.8, zorder=0.5)
        for number, side in enumerate(sides):
            own = found[found["side"] == side]
            look: Any = {"color": PALETTE[(number + 1) % len(PALETTE)]}
            at = [rows.index(row) + _APART * (number - (len(sides) - 1) / 2) for row in own["row"]]
            look |= {"marker": _MARKERS[number % len(_MARKERS)], "linestyle": "none"}
            ax.plot(own["delta"], at, label=printable(compared.names[int(side)]), **look)
            for place, group in zip(at, own.to_dict("records"), strict=True):
                if compared.difference(group).difference.n >= FEWEST_SEEDS:
                    ends = [[group["delta"] - group["delta_low"]], [group["delta_high"] - group["delta"]]]
                    ax.errorbar([group["delta"]], [place], xerr=ends, ecolor=look["color"], **_BAR)
        ax.set_yticks(range(len(rows)), rows)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        categories.label_metric_across(ax, chart, size)
        common.grid(ax, "x")
        common.mark_smoke(ax, chart)
        if len(sides) > 1:
            ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(sides), frameon=False)
    return ax


def too_many_rows(compared: Comparison) -> str:
    """A sentence if the comparison has too many rows for a figure, else empty."""
    rows = compared.summary["row"].nunique()
    return f"no figure: {rows} rows are more than the {MOST_ROWS} that a figure can show" if rows > MOST_ROWS else ""


def _chart(compared: Comparison, y_label: str) -> Chart:
    """The rows that are shown. If the sides differ in a single setting, the legend names it once."""
    names, label = list(compared.names), "setting"
    if len(compared.settings) == 1:
        ((label, values),) = compared.settings.values()
        names = list(values)
    shown = compared.summary.assign(settings=[names[int(side)] for side in compared.summary["side"]])
    return Chart(shown, "settings", label, y_label, compared.layout.smoke)
