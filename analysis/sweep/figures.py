"""The figures of a sweep: the one that it asks for, one of its single runs, and its learning curves."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from analysis import figures
from analysis.figures import Chart
from analysis.figures.style import Size
from analysis.sources.collection import Collection
from analysis.sources.frame import SweepLayout
from analysis.sweep import table as sweep_table
from lightning_xvol.errors import UserError

_MANY_ROWS = 6


def figure(
    name: str,
    sources: Collection,
    sweep: SweepLayout,
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    select: str,
    size: Size | None = None,
) -> Axes | None:
    """The figure `name` of `analysis.render.FIGURES`; None where the sweep has none of the kind, or no run for it.

    Raises:
        UserError: for a kind of figure that there is not.
    """
    if name == "figure":
        return _own(sources, sweep, frame, summary, size)
    if name == "seeds":
        return _seeds(sweep, frame, summary, select, size)
    return _learning(sources, sweep, frame, summary, size)


def _own(
    sources: Collection, sweep: SweepLayout, frame: pd.DataFrame, summary: pd.DataFrame, size: Size | None
) -> Axes | None:
    kind = sweep.figure.get("kind")
    if kind is None:
        return None
    if kind not in figures.KINDS:
        raise UserError(f"sweep {sweep.name!r} asks for a figure {kind!r}; known kinds: {', '.join(figures.KINDS)}")
    points, x, label = sweep_table.points(sources, sweep, frame, summary)
    y_label = metric_by_epoch(sources, sweep, frame) if kind == "curves" else sweep.metric_label
    return figures.KINDS[kind](Chart(points, x, label, y_label, sweep.smoke, size))


def metric_by_epoch(sources: Collection, sweep: SweepLayout, frame: pd.DataFrame) -> str:
    """How an axis calls what is measured after each epoch, which need not be what the sweep's table holds."""
    return f"validation {sweep.metric_label}" if sources.is_validated(sweep, frame) else sweep.metric_label


def _seeds(
    sweep: SweepLayout, frame: pd.DataFrame, summary: pd.DataFrame, select: str, size: Size | None
) -> Axes | None:
    runs = frame[(frame["metric"] == sweep.metric) & (frame["state"] == "finished")]
    if not len(runs):
        return None
    runs = _named(runs.assign(value=runs[select]), sweep, summary)
    axis = sweep.column_axis
    label = sweep.axis_label(axis) if axis else ""
    return figures.seeds(Chart(runs, axis, label, sweep.metric_label, sweep.smoke, size))


def _learning(
    sources: Collection, sweep: SweepLayout, frame: pd.DataFrame, summary: pd.DataFrame, size: Size | None
) -> Axes | None:
    epochs = sources.epochs(sweep, frame)
    if not len(epochs):
        return None
    epochs = _named(epochs, sweep, summary)
    axis = sweep.column_axis
    panel, label = (axis, sweep.axis_label(axis)) if axis else (None, "")
    if axis is None and epochs["row"].nunique() > _MANY_ROWS:
        panel = "row"
    return figures.learning(Chart(epochs, panel, label, metric_by_epoch(sources, sweep, frame), sweep.smoke, size))


def _named(runs: pd.DataFrame, sweep: SweepLayout, summary: pd.DataFrame) -> pd.DataFrame:
    """`runs` as the table has them: in its order, named as its `row`, the paper's value marked on an axis of text."""
    keys, axis = ["operator", *sweep.axes], sweep.column_axis
    named = summary[[*keys, "row"]].merge(runs, "inner", keys)
    if axis is not None and not pd.api.types.is_numeric_dtype(named[axis]):
        named[axis] = [sweep.heading(axis, value) for value in named[axis]]
    return named
