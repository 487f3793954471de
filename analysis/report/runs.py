"""The runs behind the numbers of the page. Each number links to a group: the runs of one configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import yaml

from analysis import numbers
from analysis.sources.collection import Collection
from analysis.sources.frame import Outcome
from analysis.statistics import FEWEST_SEEDS
from analysis.sweep.overview import Overview
from analysis.table import TableCell
from lightning_xvol.commandline import duration
from lightning_xvol.ledger import record

_MOST_SEEDS = 10  # in a summary line


@dataclass(frozen=True)
class ReportedRun:
    """A line of the page's table of runs.

    Attributes:
        seed: The seed.
        cell_id: The fingerprint of the cell.
        values: The values of the group's metrics, as recorded.
        state: finished, diverged, failed or missing.
        error: Why the run failed.
        took: The computing time.
        commit: The version of the code.
        machine: The version of torch and the device.
        where: The path or the address of its record.
    """

    seed: int
    cell_id: str
    values: tuple[str, ...]
    state: str
    error: str
    took: str
    commit: str
    machine: str
    where: str

    @property
    def url(self) -> str:
        """The address of the run on a server; empty for a run on disk."""
        return self.where if self.where.startswith(("https://", "http://")) else ""


@dataclass(frozen=True)
class TableUse:
    """A number of a sweep's table that a group of runs makes.

    Attributes:
        sweep: The number of the sweep on the page.
        row: The row of the table, and the value of its column.
        value: Seeds, mean, standard deviation and interval; fewer than three runs as they are.
        delta: The difference from the baseline, with its interval, and whether it is resolved.
        baseline: The group of the baseline.
    """

    sweep: int
    row: str
    value: str
    delta: str
    baseline: str


@dataclass
class ReportedGroup:
    """Runs that differ only in their seed.

    Attributes:
        group_id: The fingerprint of the configuration without its seed.
        metrics: The metrics of the runs. The sweep's own metric is first.
        runs: The runs in the order of their seeds.
        config: The configuration without its seed, as YAML.
        uses: The numbers in the tables that these runs make.
        operators: The numbers of the operators to whose rows these runs belong.
    """

    group_id: str
    metrics: tuple[str, ...]
    runs: tuple[ReportedRun, ...]
    config: str
    uses: list[TableUse] = field(default_factory=list)
    operators: set[int] = field(default_factory=set)

    @property
    def sweeps(self) -> list[int]:
        return sorted({use.sweep for use in self.uses})

    @property
    def seed_values(self) -> str:
        """The value of each seed, or its state: `seed 0: 97.9, seed 1: diverged`. A long list is cut off."""
        texts = [f"seed {run.seed}: {run.values[0] if run.state == 'finished' else run.state}" for run in self.runs]
        more = [f"and {len(texts) - _MOST_SEEDS} more"] if len(texts) > _MOST_SEEDS else []
        return ", ".join(texts[:_MOST_SEEDS] + more)


class ReportedRuns:
    """The groups of all sweeps by their id, in the order of the tables, and the number of each operator by its label.

    Attributes:
        groups: The groups.
        operators: The numbers by which the filters of the page know the operators.
    """

    def __init__(self, sources: Collection, found: Sequence[Overview]) -> None:
        self.groups: dict[str, ReportedGroup] = {}
        self.operators: dict[str, int] = {}
        rows = pd.concat([overview.frame for overview in found]).drop_duplicates(["cell_id", "metric"])
        by_group = dict(iter(rows.groupby("group_id", sort=False)))
        for number, overview in enumerate(found):
            baselines = _baselines(overview)
            for row in overview.summary.to_dict("records"):
                group_id = row["group_id"]
                if group_id not in self.groups:
                    self.groups[group_id] = _group(group_id, by_group[group_id], overview, sources)
                group = self.groups[group_id]
                group.operators.add(self.operators.setdefault(row["label"], len(self.operators)))
                group.uses.append(_use(number, row, overview, baselines))

    def operators_of(self, cells: Iterable[TableCell]) -> list[int]:
        """The numbers of the operators behind these table cells."""
        return sorted({number for group in self._behind(cells) for number in group.operators})

    def sweeps_of(self, cells: Iterable[TableCell]) -> list[int]:
        """The numbers of the sweeps that hold the runs behind these table cells."""
        return sorted({use.sweep for group in self._behind(cells) for use in group.uses})

    def _behind(self, cells: Iterable[TableCell]) -> list[ReportedGroup]:
        return [self.groups[cell.group_id] for cell in cells if cell.group_id in self.groups]


def _group(group_id: str, rows: pd.DataFrame, overview: Overview, sources: Collection) -> ReportedGroup:
    metrics = tuple(dict.fromkeys([overview.layout.metric, *rows["metric"]]))
    cells = dict(iter(rows.sort_values("seed", kind="stable").groupby("cell_id", sort=False)))
    outcomes = {cell: sources.outcome(cell) for cell in cells}
    runs = tuple(_run(own, metrics, outcomes[cell], overview.select) for cell, own in cells.items())
    return ReportedGroup(group_id, metrics, runs, _config(outcomes))


def _run(rows: pd.DataFrame, metrics: Sequence[str], outcome: Outcome | None, select: str) -> ReportedRun:
    first = rows.iloc[0]
    values = dict(zip(rows["metric"], rows[select], strict=True))
    recorded = not pd.isna(first["wall_seconds"])
    machine = f"torch {first['torch']}, {first['device']}" if recorded else ""
    return ReportedRun(
        seed=int(first["seed"]), cell_id=first["cell_id"], state=first["state"],
        values=tuple(exact(values.get(metric, float("nan"))) for metric in metrics),
        error="" if pd.isna(first["error"]) else first["error"],
        took=duration(first["wall_seconds"]) if recorded else "",
        commit=numbers.short_commit(first["commit"]) if recorded else "",
        machine=machine, where=outcome.where if outcome else "",
    )  # fmt: skip


def exact(value: float) -> str:
    """A value as recorded, without trailing zeros."""
    text = numbers.number(value, record.DECIMALS)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _config(outcomes: Mapping[str, Outcome | None]) -> str:
    """The configuration without its seed, as YAML. Empty if no run of the group has a record."""
    for outcome in outcomes.values():
        if outcome is not None and outcome.result is not None and isinstance(outcome.result["config"], dict):
            shared = {key: value for key, value in outcome.result["config"].items() if key != "seed"}
            return yaml.safe_dump(shared, default_flow_style=None, width=88, allow_unicode=True)
    return ""


def _baselines(overview: Overview) -> dict[tuple[Any, ...], str]:
    """The group of the baseline at each place of the axes."""
    axes, rows = overview.layout.axes, overview.whole.to_dict("records")  # the baseline may not be shown
    of_baseline = [row for row in rows if row["operator"] == overview.layout.baseline]
    return {tuple(row[axis] for axis in axes): row["group_id"] for row in of_baseline}


def _use(number: int, row: Mapping[str, Any], overview: Overview, baselines: Mapping[tuple[Any, ...], str]) -> TableUse:
    sweep = overview.layout
    column = [sweep.place(axis, row[axis]) for axis in [sweep.column_axis] if axis]
    value = numbers.DASH
    if row["n"]:
        value = numbers.runs(row["runs"], 2)
        if row["n"] >= FEWEST_SEEDS:
            value += f", 95 % interval {numbers.number(row['ci_low'], 2)} to {numbers.number(row['ci_high'], 2)}"
    delta, baseline = "", ""
    if sweep.baseline is not None and not pd.isna(row["delta"]):
        baseline = baselines[tuple(row[axis] for axis in sweep.axes)]
        delta = numbers.signed(row["delta"], 2)
        if row["n"] >= FEWEST_SEEDS and not pd.isna(row["delta_low"]):
            delta += f" [{numbers.signed(row['delta_low'], 2)}, {numbers.signed(row['delta_high'], 2)}]"
        delta += f" to {sweep.labels[sweep.baseline]}, {'resolved' if row['resolved'] else 'not resolved'}"
    return TableUse(number, ", ".join([row["row"], *column]), f"n = {row['n']}: {value}", delta, baseline)
