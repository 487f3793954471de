"""The cost of a sweep before it starts: from earlier runs in the same ledger, else from a short trial.

Nothing here imports torch: the launcher runs the trial.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.engine.cell import Cost
from ablations.engine.sweep import Cell
from lightning_xvol.commandline import duration
from lightning_xvol.config.schema import to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import record

SAMPLE = 6  # configurations in a trial


@dataclass(frozen=True)
class Estimate:
    """The cost of `runs` runs together, and the source of that knowledge."""

    runs: int
    cost: Cost
    source: str

    def describe(self, jobs: int) -> str:
        time = f"about {duration(self.cost.seconds)} of computing"
        if jobs > 1:
            time += f", {duration(self.cost.seconds / jobs)} with {jobs} processes"
        return f"{self.runs} cells to run: {time}; {_size(self.cost.bytes)} of disk ({self.source})"


def from_records(cells: Sequence[Cell], out: Path) -> Estimate | None:
    """The cost of `cells` by the finished runs in `out`, or None if one of the cells has no run like it.

    A run like a cell is one of its group, else one with the same operator, network and data, else one with the same
    network and data. Times are scaled by the budget.
    """
    known: dict[str, list[Cost]] = {}
    runs = 0
    for path in out.glob("cells/*/result.json"):
        if ".old-" in path.parent.name:
            continue
        with contextlib.suppress(UserError, OSError, KeyError, TypeError):  # a record of another version tells nothing
            result = record.read_result(path.parent)
            if result is not None:
                seconds, keys = float(result["wall_seconds"]), _keys(result["group_id"], result["config"])
                runs += 1
                for key, amount in keys:
                    known.setdefault(key, []).append(Cost(seconds / amount, _bytes_of(path.parent)))
    costs = []
    for cell in cells:
        found = next(
            ((known[key], amount) for key, amount in _keys(cell.group, to_dict(cell.config)) if key in known), None
        )
        if found is None:
            return None
        like, amount = found
        mean = _mean(like)
        costs.append(Cost(mean.seconds * amount, mean.bytes))
    return Estimate(len(cells), _sum(costs), f"from the {runs} runs in {out}") if costs else None


def from_trial(cells: Sequence[Cell], sample: Mapping[str, Cost]) -> Estimate:
    """The cost of `cells` by a trial of some of their groups. Every other group counts as the mean of those."""
    mean = _mean(list(sample.values()))
    costs = [sample.get(cell.group, mean) for cell in cells]
    return Estimate(len(cells), _sum(costs), f"from a few steps of {len(sample)} of them, training alone")


def sample(cells: Sequence[Cell]) -> list[Cell]:
    """Up to `SAMPLE` cells of different groups, evenly spaced so that every kind of row may be among them."""
    groups = list({cell.group: cell for cell in cells}.values())
    count = min(SAMPLE, len(groups))
    return [groups[number * len(groups) // count] for number in range(count)]


def _keys(group: str, config: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Keys to look up costs by, the most similar runs first. Each comes with the budget that costs are divided by."""
    train = dict(config["train"])
    amount, unit = (train["steps"], "steps") if train["steps"] else (train["epochs"], "epochs")
    for name in ("steps", "epochs", "checkpoint_every"):
        del train[name]
    data = {name: value for name, value in config["data"].items() if name != "workers"}
    alike = json.dumps([config["backbone"], data, train, unit], sort_keys=True)
    return [(group, amount), (f"{config['operator']['name']} {alike}", amount), (alike, amount)]


def _bytes_of(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a run that has just ended still deletes files
            total += file.stat().st_size if file.is_file() else 0
    return total


def _mean(costs: Sequence[Cost]) -> Cost:
    total = _sum(costs)
    return Cost(total.seconds / len(costs), total.bytes / len(costs))


def _sum(costs: Sequence[Cost]) -> Cost:
    return Cost(sum(cost.seconds for cost in costs), sum(cost.bytes for cost in costs))


def _size(count: float) -> str:
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
