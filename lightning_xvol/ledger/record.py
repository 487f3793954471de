"""The record of a finished run. Nothing here imports torch.

A record may hold more than `RESULT_KEYS`. `tracking` is there where the run was not tracked as the user asked,
`protocol` where the run belongs to an experiment with one (`lightning_xvol.ledger.protocol`).

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
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from lightning_xvol.config.resolved import SCHEMA, resolve
from lightning_xvol.config.schema import RunConfig, from_record
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import checks, contents, files

PREDICTIONS = "predictions.npz"
"""Arrays, read by `numpy.load`: `index`, `label`, `predicted` (int32) and `score` (float32), each `[N]`, and `classes`.

They have an entry for each image of the split that the record's `top1` is of, in the order of `index`, which counts
from 0 in the split as the run sees it. `score` is the softmax probability of the predicted class. `classes` are the
names of the labels, or their numbers where the data set has no names.
"""
DETECTIONS = {"box": "box_detections.json", "mask": "mask_detections.json"}

# Metrics pass through float32, which turns 74.9 into 74.9000015.
DECIMALS = 4

_LONGEST = 1e12
"""Seconds that no run takes."""
_SHARES = ("top", "box_ap", "mask_ap")
"""How the names of the metrics begin that are shares, in percent."""


def bounds(metric: str) -> tuple[float, float]:
    """The smallest and the largest value that the metric can have, in a split or with a probe of the network too.

    A variance is computed in float64. A run that diverges can end with one of 1e49.
    """
    is_share = metric.removeprefix("val_").startswith(_SHARES)
    return (0.0, 100.0) if is_share else (-sys.float_info.max, sys.float_info.max)


def is_point(metric: str, step: Any, epoch: Any, value: Any) -> bool:
    """Whether a curve of `metric` can have this value after this number of steps."""
    counts = checks.is_whole(step, 0) and checks.is_whole(epoch, 0)
    return counts and checks.is_measured(value, *bounds(metric))


def _metrics(value: Any, path: str) -> Iterator[str]:
    yield from checks.mapping(value, path)
    for name, values in value.items() if isinstance(value, dict) else ():
        measured = checks.measured(*bounds(name))
        shape = checks.fields(others={"last": measured, "best": measured, "best_epoch": checks.optional(checks.count)})
        yield from shape(values, f"{path}.{name}")


_optional_text = checks.optional(checks.text)
_SIZE = 16_384
"""Larger whole numbers as options of an operator or a backbone would fill the memory."""


def _network_options(value: Any, path: str) -> Iterator[str]:
    yield from checks.mapping(value, path)
    for key, option in value.items() if isinstance(value, dict) else ():
        for part in option if isinstance(option, list) else [option]:
            if isinstance(part, int) and not isinstance(part, bool) and abs(part) > _SIZE:
                yield from checks.unfit(part, f"{path}.{key}", f"at most {_SIZE}")


CONFIG = checks.fields(
    others={
        "operator": checks.fields(others={"options": _network_options}),
        "backbone": checks.fields(others={"options": _network_options, "stages": checks.list_of(checks.anything)}),
        **dict.fromkeys(("data", "optim"), checks.fields(others={"options": checks.mapping})),
        "detector": checks.fields(others=dict.fromkeys(("origin", "origin_optimisation"), _optional_text)),
        "train": checks.fields(others=dict.fromkeys(("steps", "epochs"), checks.optional(checks.count))),
    }
)
"""A configuration as a record or a checkpoint holds it. `from_dict` checks the value of each field."""
RECORD: dict[str, checks.Shape] = {
    "schema": checks.count,
    "cell_id": checks.name,
    "group_id": checks.text,
    "seed": checks.whole,
    "config": CONFIG,
    "metrics": _metrics,
    "params": checks.count,
    "macs": checks.count,
    "wall_seconds": checks.number(0, _LONGEST),
    "segments": checks.anything,
    "weights_sha256": checks.anything,
    "environment": checks.fields(others=dict.fromkeys(("torch", "device"), _optional_text)),
    "commit": checks.text,
    "status": checks.one_of("finished", "diverged"),
}
"""The keys of every record, and what each may hold. Any but the status may be null."""
RESULT_KEYS = tuple(RECORD)
_SOMETIMES = {
    "optimisation_id": _optional_text,
    "tracking": _optional_text,
    "data": checks.optional(contents.SHAPE),
    "metrics_bytes": checks.optional(checks.count),
    "cpu_seconds": checks.optional(checks.number(0, _LONGEST)),
}
_FITS = checks.fields(
    {key: shape if key == "status" else checks.optional(shape) for key, shape in RECORD.items()}, _SOMETIMES
)


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
    """The finished record in `folder`, or None if there is none or it or its `metrics.csv` is not whole.

    Raises:
        UserError: for the record of a newer version, which must not be replaced.
        OSError: for a file that is there and cannot be read.
    """
    path = folder / "result.json"
    result = files.read_json(path)
    if not is_whole(result):
        return None
    newer = newer_schema(result)
    if newer:
        raise UserError(f"{str(path)!r} {newer}")
    return result if not fault(result) and is_complete(result, folder) else None


def is_complete(result: Mapping[str, Any], folder: Path) -> bool:
    """Whether `metrics.csv` in `folder` has the size that the record says; older records say none."""
    size = result.get("metrics_bytes")
    return size is None or size == metrics_bytes(folder)


def is_whole(result: Any) -> TypeGuard[dict[str, Any]]:
    """Whether `result` has every key of a record, or is the record of a newer version."""
    return isinstance(result, dict) and (bool(newer_schema(result)) or all(key in result for key in RESULT_KEYS))


def newer_schema(content: Mapping[str, Any]) -> str:
    """`has schema 2, ...` for the content of a file that a newer version wrote; else empty."""
    schema = content.get("schema")
    if not isinstance(schema, int) or schema <= SCHEMA:
        return ""
    return f"has schema {checks.shown(schema)}, and this version reads {SCHEMA}; read it with the version that wrote it"


def fault(result: Mapping[str, Any]) -> str:
    """Why a whole record cannot be used, as the rest of a sentence that begins with its file; empty where it can."""
    newer = newer_schema(result)
    if newer:
        return newer
    unfit = checks.problems(result, checks.plain, _FITS)
    return f"has missing or unfit values: {unfit}; move it away and run the command again" if unfit else ""


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


def read_failure(folder: Path) -> dict[str, Any]:
    """`error`, `step` and `attempt` of the last attempt; empty if it left none, or if `failure.json` is damaged."""
    failure = files.read_json(folder / "failure.json")
    return failure if isinstance(failure, dict) and not checks.problems(failure, checks.plain, _FAILURE) else {}


def read_segments(path: Path) -> list[dict[str, Any]]:
    """The content of a `segments.json`; empty if it is missing or damaged."""
    segments = files.read_json(path)
    return segments if isinstance(segments, list) and not checks.problems(segments, checks.plain, _SEGMENTS) else []


_FAILURE = checks.fields({"error": checks.text}, {"step": checks.count, "attempt": checks.count})
_SEGMENTS = checks.list_of(
    checks.fields(
        dict.fromkeys(("start_step", "end_step"), checks.count),
        dict.fromkeys(("wall_seconds", "cpu_seconds"), checks.number(0, _LONGEST)),
    )
)


def write_failure(folder: Path, error: str, step: int) -> None:
    """Record a failed attempt, with a number one above that of the last."""
    attempt = read_failure(folder).get("attempt", 0) + 1
    files.write_json(folder / "failure.json", {"error": error, "step": step, "attempt": attempt})


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    missing = [key for key in RESULT_KEYS if key not in result]
    if missing:
        raise ValueError(f"a result without {', '.join(missing)}")
    files.write_json(folder / "result.json", dict(result))
