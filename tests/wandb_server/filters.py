"""W&B's filters and orders, as far as the tests need them: MongoDB's operators on the fields of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.wandb_server.store import StoredRun
from tests.wandb_server.wire import as_time

_COMPARE = {
    "$eq": lambda value, other: value == other,
    "$ne": lambda value, other: value != other,
    "$in": lambda value, other: value in other,
    "$nin": lambda value, other: value not in other,
    "$gt": lambda value, other: value is not None and value > other,
    "$gte": lambda value, other: value is not None and value >= other,
    "$lt": lambda value, other: value is not None and value < other,
    "$lte": lambda value, other: value is not None and value <= other,
    "$regex": lambda value, other: value is not None and re.search(other, value) is not None,
}


def matches(run: StoredRun, wanted: Mapping[str, Any]) -> bool:
    return all(_holds(run, key, condition) for key, condition in wanted.items())


def _holds(run: StoredRun, key: str, condition: Any) -> bool:
    if key in ("$and", "$or"):
        return (all if key == "$and" else any)(matches(run, part) for part in condition)
    value = field(run, key)
    if not isinstance(condition, Mapping):
        return value == condition or (isinstance(value, list) and condition in value)
    return all(_COMPARE[name](value, other) for name, other in condition.items())


def field(run: StoredRun, key: str) -> Any:
    """`config.NAME` (or `config.NAME.value`), `summary_metrics.NAME`, or a field of the run itself."""
    kind, _, name = key.partition(".")
    if kind == "config":
        return run.config.get(name.removesuffix(".value"), {}).get("value")
    if kind in ("summary_metrics", "summaryMetrics"):
        return run.summary.get(name)
    fields = {
        "name": run.name, "display_name": run.display_name, "displayName": run.display_name, "state": run.state,
        "group": run.group, "job_type": run.job_type, "jobType": run.job_type, "tags": run.tags, "sweep": run.sweep,
        "created_at": as_time(run.created_at), "createdAt": as_time(run.created_at),
        "heartbeat_at": as_time(run.heartbeat_at), "heartbeatAt": as_time(run.heartbeat_at),
    }  # fmt: skip
    return fields[key]


def sort_key(run: StoredRun, order: str) -> tuple[bool, Any]:
    value = field(run, order.lstrip("+-"))
    return (value is not None, value if value is not None else 0)
