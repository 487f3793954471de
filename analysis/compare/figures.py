"""The figures of a comparison: the mean of each row under each setting, and the differences to the first."""

from __future__ import annotations

from matplotlib.axes import Axes

from analysis.compare.comparison import FIRST, Comparison
from analysis.figures import kinds
from analysis.figures.categories import finish_rows, for_rows
from analysis.figures.chart import Chart
from analysis.figures.common import drawing, interval, interval_note, legend_label, row_names
from analysis.figures.style import PALETTE
from analysis.sweep.figures import MOST_ROWS

_APART = 0.16  # between the sides of a row, in rows


def means(compared: Comparison) -> Axes:
    """A line of the figure for each row, with a mean and its interval for each setting."""
    return kinds.dots(_chart(compared, compared.layout.metric_label))


def differences(compared: Comparison) -> Axes | None:
    """A line of the figure for each row, with its difference to the first setting; None where no row has one."""
    first, *others = compared.names
    what = f"{others[0]} minus {first}" if len(others) == 1 else f"difference to {first}"
    chart = _chart(compared, f"{what}: {compared.layout.metric_label.replace(' (%)', '')} (points)")
    found = chart.data[(chart.data["side"] != FIRST) & chart.data["delta"].notna()]
    if found.empty:
        return None
    n = [compared.difference(group).difference.n for group in found.to_dict("records")]
    found = found.assign(mean=found["delta"], ci_low=found["delta_low"], ci_high=found["delta_high"], n=n)
    rows, sides = row_names(found), list(found["settings"].drop_duplicates())
    size = for_rows(chart.size, rows, legend_lines=len(sides) > 1)
    with drawing(size, None) as ax:
        ax.axvline(0, color="0.6", linewidth=0.8, zorder=0.5)
        for number, side in enumerate(sides):
            points, color = found[found["settings"] == side], PALETTE[(number + 1) % len(PALETTE)]
            at = [rows.index(row) + _APART * (number - (len(sides) - 1) / 2) for row in points["row"]]
            label = legend_label(side) if len(sides) > 1 else None
            ax.plot(points["mean"], at, color=color, marker="o", linestyle="none", label=label)
            interval(ax, at, points, color, across=True)
        finish_rows(ax, chart, size, rows, interval_note(found, dots=""))
    return ax


def too_many_rows(compared: Comparison) -> str:
    """A sentence where the comparison has too many rows for a figure; else empty."""
    rows = compared.summary["row"].nunique()
    return f"no figure: {rows} rows are more than the {MOST_ROWS} that a figure can show" if rows > MOST_ROWS else ""


def _chart(compared: Comparison, y_label: str) -> Chart:
    """The rows that are shown. Where sides differ in one setting alone, the legend has its name once."""
    names, label = list(compared.names), "setting"
    if len(compared.settings) == 1:
        ((label, values),) = compared.settings.values()
        names = list(values)
    shown = compared.summary.assign(settings=[names[int(side)] for side in compared.summary["side"]])
    return Chart(shown, "settings", label, y_label, compared.layout.smoke)
