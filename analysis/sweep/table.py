"""The table of a sweep: a row per operator, a column per value of one axis, and the costs below.

A sweep without axes has one column for its metric and, beside it, columns for the costs of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.paper import protocol, published
from analysis.sources.samples import STATISTICS, estimates_of
from analysis.statistics import NAN
from analysis.sweep import display, footnotes, product_use
from analysis.sweep.results import SweepResults
from analysis.table import Block, Table, TableCell
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.plan import COSTS


def points(results: SweepResults, kind: str) -> tuple[pd.DataFrame, str | None, str]:
    """What a figure of this kind shows: a frame, the column that runs along x (None: nothing does), and its label.

    Raises:
        UserError: where the kind needs an axis and the sweep has none.
    """
    sweep, summary = results.layout, results.visible
    if kind == "curves":
        axis = sweep.column_axis
        last = axis_values(summary, axis)[-1] if axis else None
        where = f", {sweep.axis_label(axis)} {sweep.value_label(axis, last)}" if axis else ""
        return epochs_of(results), "epoch", f"epoch{where}"
    x = sweep.figure_x if kind in ("scatter", "lines") else sweep.column_axis
    if kind == "scatter" and x not in COSTS:
        x = "params"
    if x is None and kind != "dots":
        raise UserError(f"a figure {kind!r} needs an axis, and the sweep {sweep.name!r} has none; use dots or scatter")
    if x is None:
        return summary, None, ""
    if x in sweep.axes and not pd.api.types.is_numeric_dtype(summary[x]):
        summary = summary.assign(**{x: [sweep.heading(x, value) for value in summary[x]]})
    return summary, x, sweep.axis_label(x)


def epochs_of(results: SweepResults) -> pd.DataFrame:
    """The mean over seeds after each epoch, with its interval, at the last value with results of the axis across.

    Columns: `operator`, `row`, the axes, `epoch`, `n`, `mean`, `ci_low`, `ci_high`, `runs`. An epoch that a run of its
    group lacks is left out. Variances are pooled within one epoch.
    """
    sweep, summary = results.layout, results.visible
    epochs = results.sources.epochs(sweep, results.frame)
    axis = sweep.column_axis
    shown = summary if axis is None else summary[summary[axis] == axis_values(summary, axis)[-1]]
    keys = ["operator", *sweep.axes]
    samples: dict[Any, dict[str, list[float]]] = {}
    by_group = dict(iter(epochs.groupby(keys, sort=False)))
    for group in results.whole.to_dict("records"):
        own = by_group.get(tuple(group[key] for key in keys), epochs[:0])
        for epoch, runs in own.groupby("epoch"):
            samples.setdefault(epoch, {})[group["group_id"]] = runs["value"].tolist()
    unknown = dict.fromkeys(results.whole["group_id"])
    found = {
        epoch: estimates_of(own, unknown, sweep.metric, results.interval)[0] for epoch, own in sorted(samples.items())
    }
    rows = []
    for group in shown.to_dict("records"):
        named = {key: group[key] for key in ("row", *keys)}
        for epoch, estimates in found.items():
            mean = estimates.get(group["group_id"])
            if mean is not None and mean.n == group["n"]:
                values = {"n": mean.n, "mean": mean.mean, "ci_low": mean.low, "ci_high": mean.high}
                rows.append({**named, "epoch": epoch, **values, "runs": tuple(samples[epoch][group["group_id"]])})
    return pd.DataFrame(rows, columns=["row", *keys, "epoch", "n", "mean", "ci_low", "ci_high", "runs"])


def tidy(results: SweepResults) -> pd.DataFrame:
    """What `table.csv` holds: a row per metric and group, with the number that the paper prints for what it optimises.

    The metrics are all that the table shows; the sweep's own comes first.
    """
    sweep = results.layout
    columns = [
        "operator", *sweep.axes, "metric", "planned", "diverged", *STATISTICS, "published", *COSTS, "added_params",
        "cpu_seconds",
    ]  # fmt: skip
    summary = pd.concat([results.summary, *results.others.values()], ignore_index=True)
    optimised = {} if sweep.reproduces is None else protocol.identities(results.sources.results(results.frame))
    keys = zip(summary["group_id"].map(optimised.get), summary["metric"], strict=True)
    values = [published.values().get(key) for key in keys]
    return summary.assign(published=pd.Series(values, index=summary.index, dtype="float64"))[columns]


def sweep_table(results: SweepResults) -> Table:
    """The table of `results`. It leaves out rows and columns without a result of their own; its CSV has them all."""
    sweep, summary = results.layout, results.visible
    axis = sweep.column_axis
    values = axis_values(summary, axis)
    common = footnotes.common_n(summary)
    groups: dict[str, dict[Any, dict[str, Any]]] = {}
    for group in summary.to_dict("records"):
        groups.setdefault(group["row"], {})[group[axis] if axis else None] = group
    best = {value: _best([row[value] for row in groups.values() if value in row]) for value in values}
    scores = tuple(
        (label, tuple(_score(row.get(value), common, best[value]) for value in values)) for label, row in groups.items()
    )
    blocks: tuple[Block, ...]
    others = [
        _secondary(label, results.others[metric], groups, values)
        for metric, label in sweep.secondary_metrics.items()
        if metric in results.others
    ]
    if axis is None:
        costs = {} if results.metrics else display.costs(summary)
        rows = [
            (label, (*cells, *(other.rows[index][1][0] for other in others), *_costs(groups[label][None], costs)))
            for index, (label, cells) in enumerate(scores)
        ]
        blocks = (Block(tuple(rows)),)
        columns = (sweep.metric_label, *(other.heading for other in others), *costs.values())
    else:
        blocks = (Block(scores), *others, *(_block(cost, groups, values) for cost in sweep.cost_rows))
        columns = tuple(sweep.heading(axis, value) for value in values)
    blocks += tuple(product_use.block(results.others, sweep.metric, groups, values, len(columns)))
    return Table(
        name=sweep.name,
        title=footnotes.title(sweep),
        caption=footnotes.caption(sweep, summary),
        stub="Operator",
        spanner=sweep.axis_label(axis) if axis else "",
        columns=columns,
        blocks=blocks,
        bold=f"highest mean of its column, where it is resolved above {sweep.labels.get(sweep.baseline or '', '')}",
        notes=tuple(footnotes.notes(results)),
        tidy=tidy(results),
        short_notes=tuple(footnotes.short_notes(results)),
    )


def _secondary(
    label: str, other: pd.DataFrame, groups: Mapping[str, Mapping[Any, Mapping[str, Any]]], values: Sequence[Any]
) -> Block:
    """The block of a secondary metric, without differences; `other` is its summary."""
    texts = {group["group_id"]: numbers.runs(group["runs"]) for group in other.to_dict("records")}
    rows = tuple(
        (row, tuple(_cell(group.get(value), lambda own: texts.get(own["group_id"], numbers.DASH)) for value in values))
        for row, group in groups.items()
    )
    return Block(rows, heading=_capital(label))


def _block(cost: str, groups: Mapping[str, Mapping[Any, Mapping[str, Any]]], values: Sequence[Any]) -> Block:
    """The block of one of the costs."""
    added = cost == "added_params"
    write = numbers.added_count if added else numbers.count
    rows = tuple(
        (label, tuple(_cell(row.get(value), lambda own: write(own[cost])) for value in values))
        for label, row in groups.items()
    )
    return Block(rows, heading=_capital("added parameters" if added else COSTS[cost]))


def _capital(heading: str) -> str:
    return heading[:1].upper() + heading[1:]


def _costs(group: Mapping[str, Any], costs: Iterable[str]) -> tuple[TableCell, ...]:
    """A table cell for each of `costs`."""
    write: dict[str, Callable[[Any], str]] = {"wall_seconds": numbers.number, "cpu_seconds": numbers.number}
    return tuple(TableCell(write.get(cost, numbers.count)(group[cost]), group_id=group["group_id"]) for cost in costs)


def _cell(group: Mapping[str, Any] | None, write: Callable[[Mapping[str, Any]], str]) -> TableCell:
    return TableCell(numbers.DASH) if group is None else TableCell(write(group), group_id=group["group_id"])


def axis_values(summary: pd.DataFrame, axis: str | None) -> list[Any]:
    """The values of an axis in the order of the table; one None without an axis."""
    if axis is None:
        return [None]
    unique = summary[axis].drop_duplicates()
    return (unique.sort_values() if pd.api.types.is_numeric_dtype(unique) else unique).tolist()


def _best(groups: Sequence[Mapping[str, Any]]) -> str | None:
    """The highest mean as it is written, so that all means that look equal are bold.

    None where there is nothing to compare, or where the highest is a single run.
    """
    means = [(group["mean"], group["n"]) for group in groups if group["n"]]
    mean, n = max(means, default=(NAN, 0))
    return numbers.number(mean) if len(means) > 1 < n else None


def _score(group: Mapping[str, Any] | None, common: int, best: str | None) -> TableCell:
    """`98.5 ± 0.6 (+28.0†)`: the dagger marks a resolved difference.

    Remarks tell extremes that lie far apart, the number of runs if it is not the common one, and diverged runs.
    """
    if group is None:
        return TableCell(numbers.DASH)
    delta = []
    if not pd.isna(group["delta"]):
        delta = [numbers.signed(group["delta"]) + (numbers.DAGGER if group["resolved"] else "")]
    highest = bool(group["n"]) and numbers.number(group["mean"]) == best
    bold = highest and not pd.isna(group["delta"]) and group["delta"] > 0 and bool(group["resolved"])
    return TableCell(numbers.runs(group["runs"]), (*delta, *run_remarks(group, common)), bold, group["group_id"])


def run_remarks(group: Mapping[str, Any], common: int) -> tuple[str, ...]:
    """Remarks on the runs of a group: extremes that lie far apart, a number of runs other than `common`, divergence."""
    remarks = []
    extremes = numbers.extremes(group["runs"])
    if extremes:
        remarks.append(extremes)
    if group["n"] != common or not group["n"]:
        remarks.append(f"n = {group['n']}")
    if group["diverged"]:
        remarks.append(f"diverged {group['diverged']} of {group['planned']}")
    return tuple(remarks)
