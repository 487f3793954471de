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

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from lightning_xvol.config import registry
from lightning_xvol.config.schema import RunConfig, resolve, stored_key, to_dict
from lightning_xvol.ledger import files

SCHEMA = 1
ID_LENGTH = 12
# Metrics pass through float32: 74.9 comes back as 74.9000015.
DECIMALS = 4

RESULT_KEYS = (
    "schema", "cell_id", "group_id", "seed", "config", "metrics", "params", "macs", "wall_seconds", "segments",
    "weights_sha256", "environment", "commit", "status",
)  # fmt: skip


def canonical(config: RunConfig) -> dict[str, Any]:
    """The resolved configuration without what plays no part in identity.

    Left out are volatile fields, and every field and option that stands at the neutral value it was declared with.
    """
    config = resolve(config)
    values = to_dict(config)
    for section_field in dataclasses.fields(RunConfig):
        section = getattr(config, section_field.name)
        if not dataclasses.is_dataclass(section):
            continue
        for item in dataclasses.fields(section):
            neutral = item.metadata.get("legacy_value", dataclasses.MISSING)
            if item.metadata.get("outside_identity") or getattr(section, item.name) == neutral:
                del values[section_field.name][stored_key(item)]
        if not values[section_field.name]:  # a section that runs of old did not have
            del values[section_field.name]
    for kind in registry.KINDS:
        part = getattr(config, kind)
        for option, neutral in registry.lookup(kind, part.name).legacy_values.items():
            if part.options.get(option) == neutral:
                del values[kind]["options"][option]
    return values


def as_text(values: Mapping[str, Any]) -> str:
    """`values` and the schema as canonical JSON: sorted keys, no blanks, shortest floats."""
    return json.dumps({"schema": SCHEMA, **values}, sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(values: Mapping[str, Any]) -> str:
    """SHA-256 of `as_text(values)`."""
    return hashlib.sha256(as_text(values).encode()).hexdigest()


def cell_id(config: RunConfig) -> str:
    """Identifies one run: the beginning of the fingerprint of its configuration with the seed."""
    return fingerprint(canonical(config))[:ID_LENGTH]


def group_id(config: RunConfig) -> str:
    """Identifies the runs that differ in their seed alone."""
    values = canonical(config)
    del values["seed"]
    return fingerprint(values)[:ID_LENGTH]


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
