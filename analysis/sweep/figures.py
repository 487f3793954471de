"""The figures of a sweep: the one that it asks for, every single run, and the learning curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import kinds
from analysis.figures.chart import Chart
from analysis.figures.style import SANS, Size
from analysis.sweep import display
from analysis.sweep.results import SweepResults
from analysis.sweep.table import points
from lightning_xvol.errors import UserError, nearest

OWN = "figure"
"""The name of the figure that the sweep asks for."""
_OF_RUNS = ("seeds", "learning")
_WITH_PANELS = ("facets", "with_costs", "learning")
_MANY_ROWS = 6
MOST_ROWS = 100
"""Nobody can tell more rows apart in one figure, and the time of its legend grows with them."""


class NothingToDrawError(UserError):
    """The sweep asks for no figure of its own, or no run of it has finished."""


def figure(
    results: SweepResults, kind: str = OWN, size: Size | None = None, ax: Axes | None = None, style: str = SANS,
    caption: bool = True,
) -> Axes:  # fmt: skip
    """Draw a figure of a sweep and return its axes, the first of several panels.

    Args:
        results: The sweep.
        kind: One of `analysis.figures.kinds.KINDS`; `figure`: the kind that the sweep asks for; `seeds`: every run
            beside the means; or `learning`: learning curves.
        size: The size of the figure; without it, the figure has the width that suits it.
        ax: The axes to draw into; without them, the figure has its own. A figure of several panels takes none.
        style: The font, one of `analysis.figures.style.FONTS`.
        caption: Whether the figure has the grey caption that explains its dots and bars.

    Raises:
        NothingToDrawError: where there is no such figure of this sweep.
        UserError: for an unknown kind, a kind that needs an axis the sweep does not have, or axes for several panels.
    """
    sweep = results.layout
    crowd = too_many_rows(results)
    if crowd:
        raise NothingToDrawError(crowd)
    if kind == OWN:
        kind = _asked_for(results)
    elif kind not in (*kinds.KINDS, *_OF_RUNS):
        known = (OWN, *_OF_RUNS, *kinds.NAMES)
        raise UserError(f"no kind of figure {kind!r}{nearest(str(kind), known)}; known kinds: {', '.join(known)}")
    if ax is not None and kind in _WITH_PANELS:
        raise UserError(f"a figure {kind!r} has several panels and makes its own axes; call it without ax")
    made = {"seeds": _chart_of_runs, "learning": _chart_of_epochs}.get(kind)
    chart = _chart_of_means(results, kind) if made is None else made(results)
    chart = dataclasses.replace(chart, smoke=sweep.smoke, size=size, style=style, caption=caption)
    draw = {"seeds": kinds.seeds, "learning": kinds.learning, **kinds.KINDS}[kind]
    return draw(chart, ax)


def too_many_rows(results: SweepResults) -> str:
    """A sentence where the sweep has too many rows for any figure; else empty."""
    rows = results.visible["row"].nunique()
    if rows <= MOST_ROWS:
        return ""
    return f"no figure of {results.layout.name!r}: {rows} rows are more than the {MOST_ROWS} that a figure can show"


def _asked_for(results: SweepResults) -> str:
    sweep = results.layout
    kind = sweep.figure.get("kind")
    if kind is None:
        raise NothingToDrawError(f"the sweep {sweep.name!r} asks for no figure; choose a kind, for example seeds")
    if kind not in kinds.KINDS:
        raise UserError(f"sweep {sweep.name!r} asks for a figure {kind!r}; known kinds: {', '.join(kinds.NAMES)}")
    return str(kind)


def metric_by_epoch(results: SweepResults) -> str:
    """The label of the metric on an axis by epoch: the validation's, where the table holds the test's."""
    sweep = results.layout
    validated = results.sources.is_validated(sweep, results.frame)
    return f"validation {sweep.metric_label}" if validated else sweep.metric_label


def _chart_of_means(results: SweepResults, kind: str) -> Chart:
    shown, x, label = points(results, kind)
    y_label = metric_by_epoch(results) if kind == "curves" else results.layout.metric_label
    return Chart(shown, x, label, y_label, controls=results.layout.controls)


def _chart_of_runs(results: SweepResults) -> Chart:
    sweep, frame = results.layout, results.frame
    runs = frame[(frame["metric"] == sweep.metric) & (frame["state"] == "finished")]
    means = ("n", "mean", "ci_low", "ci_high")
    runs = _named(runs.assign(value=runs[results.select]), results, means)
    if runs.empty:
        raise NothingToDrawError(f"no run of the sweep {sweep.name!r} has finished{_chosen(results)}")
    axis = sweep.column_axis
    return Chart(runs, axis, sweep.axis_label(axis) if axis else "", sweep.metric_label)


def _chart_of_epochs(results: SweepResults) -> Chart:
    sweep = results.layout
    epochs = _named(results.sources.epochs(sweep, results.frame), results)
    if epochs.empty:
        raise NothingToDrawError(f"no finished run of the sweep {sweep.name!r} has a learning curve{_chosen(results)}")
    axis = sweep.column_axis
    panel, label = (axis, sweep.axis_label(axis)) if axis else (None, "")
    if axis is None and epochs["row"].nunique() > _MANY_ROWS:
        panel = "row"
    return Chart(epochs, panel, label, metric_by_epoch(results))


def _chosen(results: SweepResults) -> str:
    return f" with --only {display.describe(results.only)}" if results.only else ""


def _named(runs: pd.DataFrame, results: SweepResults, beside: Sequence[str] = ()) -> pd.DataFrame:
    """`runs` in the order of the table, with its name of each `row` and its columns `beside`.

    An axis of text marks the paper's own value.
    """
    sweep = results.layout
    keys, axis = ["operator", *sweep.axes], sweep.column_axis
    named = results.visible[[*keys, "row", *beside]].merge(runs, "inner", keys)
    if axis is not None and not pd.api.types.is_numeric_dtype(named[axis]):
        named[axis] = [sweep.heading(axis, value) for value in named[axis]]
    return named


def plotted(results: SweepResults, kind: str = OWN) -> pd.DataFrame:
    """The numbers that `figure` draws.

    Raises:
        NothingToDrawError, UserError: as `figure`.
    """
    if kind == OWN:
        kind = _asked_for(results)
    if kind == "seeds":
        return _chart_of_runs(results).data
    return _chart_of_epochs(results).data if kind == "learning" else points(results, kind)[0]
