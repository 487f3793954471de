"""What a finished run leaves behind, and what identifies it. Nothing here imports torch.

A cell's folder holds

| file | what |
| --- | --- |
| `config.yaml` | the resolved configuration |
| `metrics.csv` | `step, epoch, name, value`: training loss and learning rate, and every evaluation |
| `result.json` | the record below; it exists only when the run is finished |
| `failure.json` | `error, step, attempt` of the last attempt, if that failed |
| `checkpoints/` | the two newest checkpoints |
| `wandb/`, `log.txt` | the tracker's files and what the run printed |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, from_dict
from lightning_xvol.ledger import files

# Metrics pass through float32: 74.9 comes back as 74.9000015.
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
    """Identifies the groups that optimise the same, whatever it is computed on: `Resolved.optimisation_id`."""
    return resolve(config).optimisation_id


def optimisation_of(result: Mapping[str, Any]) -> str:
    """The `optimisation_id` of a record; an older record does not hold it, but the configuration that it follows from.

    Raises:
        UserError: for the configuration of another version.
    """
    return result.get("optimisation_id") or optimisation_id(from_dict(result["config"]))


def summarise(rows: Sequence[tuple[str, int, float]]) -> dict[str, dict[str, float | int]]:
    """`last`, `best` and `best_epoch` per metric from (name, epoch, value) in the order in which they were measured.

    The best loss is the lowest, the best of anything else the highest; of equal ones the first. What is not finite,
    as in a run that diverged, is left out.
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
    """The finished record in `folder`, or None where there is none that is whole, its `metrics.csv` included."""
    result = files.read_json(folder / "result.json")
    if not is_whole(result):
        return None
    size = result.get("metrics_bytes")  # records of old have none
    return result if size is None or size == metrics_bytes(folder) else None


def is_whole(result: Any) -> TypeGuard[dict[str, Any]]:
    """Whether it has all that a record has."""
    return isinstance(result, dict) and all(key in result for key in RESULT_KEYS)


def metrics_bytes(folder: Path) -> int:
    """The size of `metrics.csv`, by which a record knows that it is whole; 0 without one."""
    path = folder / "metrics.csv"
    return path.stat().st_size if path.exists() else 0


def write_failure(folder: Path, error: str, step: int) -> None:
    """Record a failed attempt, counted on from the last one."""
    before = files.read_json(folder / "failure.json")
    attempt = before.get("attempt", 0) + 1 if isinstance(before, dict) else 1
    files.write_json(folder / "failure.json", {"error": error, "step": step, "attempt": attempt})


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    missing = [key for key in RESULT_KEYS if key not in result]
    if missing:
        raise ValueError(f"a result without {', '.join(missing)}")
    files.write_json(folder / "result.json", dict(result))
