"""The record of a finished run. Nothing here imports torch.

A record may hold more than `RESULT_KEYS`. `tracking` is there where the run was not tracked as the user asked.

The folder of a cell holds:

| file | content |
| --- | --- |
| `config.yaml` | the resolved configuration |
| `metrics.csv` | `step, epoch, name, value`: training loss, learning rate, and every evaluation |
| `result.json` | the record; it exists only if the run is finished |
| `data.json` | what the data are (`lightning_xvol.ledger.contents`), until the record holds it |
| `predictions.npz` | of a classification, what the last weights predict (`PREDICTIONS`) |
| `box_detections.json`, `mask_detections.json` | of a detection that is asked for them, the results in COCO's format |
| `failure.json` | `error, step, attempt` of the last attempt, if it failed |
| `checkpoints/` | the two newest checkpoints |
| `wandb/`, `log.txt` | the tracker's files, and the output of the run |
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, from_record
from lightning_xvol.ledger import files

PREDICTIONS = "predictions.npz"
"""Arrays, read by `numpy.load`: `index`, `label`, `predicted` (int32) and `score` (float32), each `[N]`, and `classes`.

They have an entry for each image of the split that the record's `top1` is of, in the order of `index`, which counts
from 0 in the split as the run sees it. `score` is the softmax probability of the predicted class. `classes` are the
names of the labels, or their numbers where the data set has no names.
"""
DETECTIONS = {"box": "box_detections.json", "mask": "mask_detections.json"}

# Metrics pass through float32, which turns 74.9 into 74.9000015.
DECIMALS = 4

RESULT_KEYS = (
    "schema", "cell_id", "group_id", "seed", "config", "metrics", "params", "macs", "wall_seconds", "segments",
    "weights_sha256", "environment", "commit", "status",
)  # fmt: skip


def cell_id(config: RunConfig) -> str:
    """Identifies one run: `Resolved.cell_id`."""
    return resolve(config).cell_id


def group_id(config: RunConfig) -> str:
    """Identifies the runs that differ in their seed alone: `Resolved.group_id`."""
    return resolve(config).group_id


def optimisation_id(config: RunConfig) -> str:
    """Identifies the groups that optimise the same, on any machine: `Resolved.optimisation_id`."""
    return resolve(config).optimisation_id


def optimisation_of(result: Mapping[str, Any]) -> str:
    """The `optimisation_id` of a record. An older record lacks it, or has that of lists in another order.

    Its configuration gives it.

    Raises:
        UserError: for the configuration of another version.
    """
    return recorded_optimisation(result) or optimisation_id(from_record(result["config"]))


def recorded_optimisation(result: Mapping[str, Any]) -> str | None:
    """The `optimisation_id` in a record, if it has one and its lists are in the order of today."""
    return None if in_older_order(result["config"]) else result.get("optimisation_id")


def in_older_order(config: Any) -> bool:
    """Whether the recorded `config` writes a list in another order than `in_one_form` (`lightning_xvol.config`)."""
    with contextlib.suppress(KeyError, TypeError):
        stages, milestones = config["backbone"]["stages"], config["optim"]["milestones"]
        return list(stages) != sorted(set(stages)) or list(milestones) != sorted(milestones)
    return False


def summarise(rows: Sequence[tuple[str, int, float]]) -> dict[str, dict[str, float | int]]:
    """`last`, `best` and `best_epoch` of each metric, from (name, epoch, value) in the order of measurement.

    The best loss is the lowest one, the best value of any other metric the highest one. Of equal values the first is
    the best. Values that are not finite, as in a run that diverged, are left out.
    """
    summary: dict[str, dict[str, float | int]] = {}
    for name, epoch, value in rows:
        if not math.isfinite(value):
            continue
        value = round(value, DECIMALS)
        entry = summary.setdefault(name, {"last": value, "best": value, "best_epoch": epoch})
        entry["last"] = value
        if value < entry["best"] if name.endswith("loss") else value > entry["best"]:
            entry |= {"best": value, "best_epoch": epoch}
    return summary


def cell_folder(out: Path, cell: str) -> Path:
    return out / "cells" / cell


def read_result(folder: Path) -> dict[str, Any] | None:
    """The finished record in `folder`, or None if there is none or it or its `metrics.csv` is not whole."""
    result = files.read_json(folder / "result.json")
    if not is_whole(result):
        return None
    size = result.get("metrics_bytes")  # older records have none
    return result if size is None or size == metrics_bytes(folder) else None


def is_whole(result: Any) -> TypeGuard[dict[str, Any]]:
    """Whether `result` has every key of a record."""
    return isinstance(result, dict) and all(key in result for key in RESULT_KEYS)


def further_cells(
    before: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]], has_result: Callable[[str], bool]
) -> list[Mapping[str, Any]]:
    """The finished cells of an earlier plan, `before`, that the plan of `cells` lacks: of other seeds, or other rows.

    A position of a table (row and axes) has one configuration: where `cells` have another, theirs counts.
    """
    groups = {_position(cell): cell["group_id"] for cell in cells}
    known = {(_position(cell), cell["seed"]) for cell in cells}
    found = []
    for cell in before:
        place = _position(cell)
        fits = groups.get(place, cell["group_id"]) == cell["group_id"] and (place, cell["seed"]) not in known
        if fits and has_result(cell["cell_id"]):
            found.append(cell)
    return found


def _position(cell: Mapping[str, Any]) -> str:
    return json.dumps([cell["operator"], cell["axes"]], sort_keys=True)


def metrics_bytes(folder: Path) -> int:
    """The size of `metrics.csv`, or 0 if there is none. A record holds it to show that the file is whole."""
    path = folder / "metrics.csv"
    return path.stat().st_size if path.exists() else 0


def write_failure(folder: Path, error: str, step: int) -> None:
    """Record a failed attempt, with a number one above that of the last."""
    before = files.read_json(folder / "failure.json")
    attempt = before.get("attempt", 0) + 1 if isinstance(before, dict) else 1
    files.write_json(folder / "failure.json", {"error": error, "step": step, "attempt": attempt})


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    missing = [key for key in RESULT_KEYS if key not in result]
    if missing:
        raise ValueError(f"a result without {', '.join(missing)}")
    files.write_json(folder / "result.json", dict(result))
