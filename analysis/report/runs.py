"""The runs behind the numbers of the page: a group per configuration, to which its numbers link."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import yaml

from analysis import numbers
from analysis.sources.collection import Collection
from analysis.sources.frame import Outcome
from analysis.sweep.overview import Overview
from analysis.table import TableCell
from lightning_xvol.commandline import duration
from lightning_xvol.ledger import record

_NAMED = 10


@dataclass(frozen=True)
class Run:
    """A cell: its seed, `values` of its group's metrics as recorded, and where its record lies."""

    seed: int
    cell_id: str
    state: str
    values: tuple[str, ...]
    took: str
    commit: str
    machine: str
    where: str
    error: str

    @property
    def url(self) -> str:
        """Where on the web it is, empty where its source is no server."""
        return self.where if self.where.startswith(("https://", "http://")) else ""


@dataclass(frozen=True)
class Use:
    """An entry of a sweep's table that a group makes; `baseline` is the group from which `delta` is taken."""

    sweep: int
    row: str
    value: str
    delta: str
    baseline: str


@dataclass
class Group:
    """Runs that differ in their seed alone; `metrics` heads the values of its runs, its sweep's own metric first.

    `operators` are the numbers of the operators whose rows it makes.
    """

    group_id: str
    metrics: tuple[str, ...]
    runs: tuple[Run, ...]
    config: str
    uses: list[Use] = field(default_factory=list)
    operators: set[int] = field(default_factory=set)

    @property
    def sweeps(self) -> list[int]:
        return sorted({use.sweep for use in self.uses})

    @property
    def seed_values(self) -> str:
        """`seed 0: 97.9, seed 1: 98.5`, and of a run without a value its state; not more than `_NAMED` of them."""
        texts = [f"seed {run.seed}: {run.values[0] if run.state == 'finished' else run.state}" for run in self.runs]
        more = [f"and {len(texts) - _NAMED} more"] if len(texts) > _NAMED else []
        return ", ".join(texts[:_NAMED] + more)


class Runs:
    """Every group of the sweeps, in the order in which their tables show them, and the number of each operator."""

    def __init__(self, sources: Collection, found: Sequence[Overview]) -> None:
        self.groups: dict[str, Group] = {}
        self.operators: dict[str, int] = {}
        rows = pd.concat([overview.frame for overview in found]).drop_duplicates(["cell_id", "metric"])
        by_group = dict(iter(rows.groupby("group_id", sort=False)))
        for number, overview in enumerate(found):
            for entry in overview.summary.to_dict("records"):
                group_id = entry["group_id"]
                if group_id not in self.groups:
                    self.groups[group_id] = _group(group_id, by_group[group_id], overview, sources)
                group = self.groups[group_id]
                group.operators.add(self.operators.setdefault(entry["label"], len(self.operators)))
                group.uses.append(_use(number, entry, overview))

    def operators_of(self, entries: Iterable[TableCell]) -> list[int]:
        """The operators of the runs that these entries come from, by their number."""
        return sorted({number for group in self._behind(entries) for number in group.operators})

    def sweeps_of(self, entries: Iterable[TableCell]) -> list[int]:
        """The sweeps that hold these runs, by their number."""
        return sorted({use.sweep for group in self._behind(entries) for use in group.uses})

    def _behind(self, entries: Iterable[TableCell]) -> list[Group]:
        return [self.groups[entry.group_id] for entry in entries if entry.group_id in self.groups]


def _group(group_id: str, rows: pd.DataFrame, overview: Overview, sources: Collection) -> Group:
    metrics = tuple(dict.fromkeys([overview.sweep.metric, *rows["metric"]]))
    cells = dict(iter(rows.sort_values("seed", kind="stable").groupby("cell_id", sort=False)))
    outcomes = {cell: sources.outcome(cell) for cell in cells}
    runs = tuple(_run(own, metrics, outcomes[cell], overview.select) for cell, own in cells.items())
    return Group(group_id, metrics, runs, _config(outcomes))


def _run(rows: pd.DataFrame, metrics: Sequence[str], outcome: Outcome | None, select: str) -> Run:
    first = rows.iloc[0]
    values = dict(zip(rows["metric"], rows[select], strict=True))
    recorded = not pd.isna(first["wall_seconds"])
    machine = f"torch {first['torch']}, {first['device']}" if recorded else ""
    return Run(
        seed=int(first["seed"]), cell_id=first["cell_id"], state=first["state"],
        values=tuple(exact(values.get(metric, float("nan"))) for metric in metrics),
        took=duration(first["wall_seconds"]) if recorded else "",
        commit=numbers.short_commit(first["commit"]) if recorded else "",
        machine=machine, where=outcome.where if outcome else "",
        error="" if pd.isna(first["error"]) else first["error"],
    )  # fmt: skip


def exact(value: float) -> str:
    """As it was recorded, without zeros at its end."""
    text = numbers.number(value, record.DECIMALS)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _config(outcomes: Mapping[str, Outcome | None]) -> str:
    """What the runs of a group share, as YAML; empty where none has left a record."""
    for outcome in outcomes.values():
        if outcome is not None and outcome.result is not None and isinstance(outcome.result["config"], dict):
            shared = {key: value for key, value in outcome.result["config"].items() if key != "seed"}
            return yaml.safe_dump(shared, default_flow_style=None, width=88, allow_unicode=True)
    return ""


def _use(number: int, entry: Mapping[str, Any], overview: Overview) -> Use:
    sweep, summary = overview.sweep, overview.summary
    places = [f"{sweep.axis_label(axis)} = {entry[axis]}" for axis in [sweep.column_axis] if axis]
    value = numbers.DASH
    if entry["n"]:
        value = f"{numbers.number(entry['mean'], 2)} {numbers.PLUS_MINUS} {numbers.number(entry['sd'], 2)}"
        if entry["n"] > 1:
            value += f", 95 % interval {numbers.number(entry['ci_low'], 2)} to {numbers.number(entry['ci_high'], 2)}"
    delta, baseline = "", ""
    if sweep.baseline is not None and not pd.isna(entry["delta"]):
        same = (summary[list(sweep.axes)] == [entry[axis] for axis in sweep.axes]).all(axis=1)
        baseline = summary[same & (summary["operator"] == sweep.baseline)]["group_id"].iloc[0]
        delta = numbers.signed(entry["delta"], 2)
        if not pd.isna(entry["delta_low"]):
            delta += f" [{numbers.signed(entry['delta_low'], 2)}, {numbers.signed(entry['delta_high'], 2)}]"
        delta += f" to {sweep.labels[sweep.baseline]}"
    return Use(number, ", ".join([entry["row"], *places]), f"n = {entry['n']}: {value}", delta, baseline)
