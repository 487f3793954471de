"""The table of a sweep: a row per operator, a column per value of the axis that runs across, parameters below.

A sweep without axes has one column for its metric and beside it what its runs cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import footnotes, numbers
from analysis.sources.ledger import COSTS, Sweep
from analysis.statistics import summarise
from analysis.tables import Block, Entry, Table


def summary_of(sweep: Sweep, frame: pd.DataFrame, select: str) -> pd.DataFrame:
    """`statistics.summarise` for the sweep's metric, with the column `row`: what table and legend call the group.

    It is the label of the operator, followed by the axes that do not run across.
    """
    summary = summarise(frame, sweep.axes, sweep.metric, select, sweep.baseline)
    beside = [axis for axis in sweep.axes if axis != sweep.column_axis]
    rows = [
        ", ".join([group["label"], *(f"{sweep.axis_label(axis)} = {group[axis]}" for axis in beside)])
        for group in summary.to_dict("records")
    ]
    return summary.assign(row=rows)


def tidy(sweep: Sweep, summary: pd.DataFrame) -> pd.DataFrame:
    """What `table.csv` holds: a row per group."""
    columns = [
        "operator", *sweep.axes, "metric", "n", "mean", "sd", "ci_low", "ci_high", "delta", "published",
        "delta_low", "delta_high", "diverged", *COSTS,
    ]  # fmt: skip
    # Published values come with the first recipe that declares what it reproduces.
    return summary.assign(published=pd.NA)[columns]


def sweep_table(sweep: Sweep, frame: pd.DataFrame, summary: pd.DataFrame, select: str) -> Table:
    axis = sweep.column_axis
    values = _values(summary, axis)
    common = footnotes.common_n(summary)
    groups: dict[str, dict[Any, dict[str, Any]]] = {}
    for group in summary.to_dict("records"):
        groups.setdefault(group["row"], {})[group[axis] if axis else None] = group
    best = {value: _best([row[value] for row in groups.values() if value in row]) for value in values}
    scores = tuple(
        (label, tuple(_score(row.get(value), common, best[value]) for value in values)) for label, row in groups.items()
    )
    blocks: tuple[Block, ...]
    if axis is None:
        blocks = (Block(tuple((label, (*entries, *_costs(groups[label][None]))) for label, entries in scores)),)
        columns = (sweep.metric_label, *COSTS.values())
    else:
        parameters = tuple(
            (label, tuple(Entry(numbers.count(row[value]["params"] if value in row else pd.NA)) for value in values))
            for label, row in groups.items()
        )
        others = (_beside(sweep, frame, select, metric, label) for metric, label in sweep.beside.items())
        blocks = (Block(scores), *others, Block(parameters, heading="Parameters"))
        columns = tuple(map(str, values))
    return Table(
        name=sweep.name,
        title=footnotes.title(sweep),
        caption=footnotes.caption(sweep),
        stub="Operator",
        spanner=sweep.axis_label(axis) if axis else "",
        columns=columns,
        blocks=blocks,
        bold="highest mean of its column, whatever the intervals",
        notes=tuple(footnotes.notes(sweep, frame, summary, select)),
        tidy=tidy(sweep, summary),
    )


def _beside(sweep: Sweep, frame: pd.DataFrame, select: str, metric: str, label: str) -> Block:
    """Another metric of the same runs, without differences."""
    found = {
        (group["operator"], *(group[axis] for axis in sweep.axes)): group
        for group in summarise(frame, sweep.axes, metric, select, None).to_dict("records")
    }
    rows: dict[str, dict[Any, Entry]] = {}
    for group in summary_of(sweep, frame, select).to_dict("records"):
        other = found.get((group["operator"], *(group[axis] for axis in sweep.axes)))
        text = numbers.DASH if other is None or not other["n"] else _mean(other)
        rows.setdefault(group["row"], {})[group[sweep.column_axis]] = Entry(text)
    values = _values(frame, sweep.column_axis)
    return Block(
        tuple(
            (row, tuple(entries.get(value, Entry(numbers.DASH)) for value in values)) for row, entries in rows.items()
        ),
        heading=label[:1].upper() + label[1:],
    )


def _costs(group: Mapping[str, Any]) -> tuple[Entry, ...]:
    """An entry for each of `COSTS`."""
    counts = (Entry(numbers.count(group[name])) for name in ("params", "macs"))
    return (*counts, Entry(numbers.number(group["wall_seconds"])))


def _values(summary: pd.DataFrame, axis: str | None) -> list[Any]:
    if axis is None:
        return [None]
    unique = summary[axis].drop_duplicates()
    return (unique.sort_values() if pd.api.types.is_numeric_dtype(unique) else unique).tolist()


def _best(groups: Sequence[Mapping[str, Any]]) -> str | None:
    """The highest mean as it is written, so that visible ties are all bold; None where there is nothing to compare."""
    means = [group["mean"] for group in groups if group["n"]]
    return numbers.number(max(means)) if len(means) > 1 else None


def _score(group: Mapping[str, Any] | None, common: int, best: str | None) -> Entry:
    """`98.5 ± 0.6 (+28.0)`, with the number of seeds where it is not the common one, and what became of the others."""
    if group is None:
        return Entry(numbers.DASH)
    remarks = []
    mean = numbers.number(group["mean"])
    if group["n"]:
        value = _mean(group)
        if not pd.isna(group["delta"]):
            remarks.append(numbers.signed(group["delta"]))
    else:
        value = numbers.DASH
    if group["n"] != common or not group["n"]:
        remarks.append(f"n = {group['n']}")
    if group["diverged"]:
        remarks.append(f"diverged {group['diverged']} of {group['planned']}")
    return Entry(value, tuple(remarks), bold=bool(group["n"]) and mean == best)


def _mean(group: Mapping[str, Any]) -> str:
    return f"{numbers.number(group['mean'])} {numbers.PLUS_MINUS} {numbers.number(group['sd'])}"
