"""The history of a run: complete in pages of steps, or thinned like on W&B's server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tests.wandb_server.operations import operation
from tests.wandb_server.store import Store, StoredRun
from tests.wandb_server.wire import to_json

T = TypeVar("T")


def rows(run: StoredRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.history]


def history_keys(run: StoredRun) -> dict[str, Any]:
    found = rows(run)
    names = sorted({name for row in found for name in row})
    last = max((row["_step"] for row in found), default=-1)
    return {"lastStep": last, "keys": {name: {"typeCounts": [{"type": "number"}]} for name in names}, "sets": []}


def thinned(items: Sequence[T], number: int) -> list[T]:
    """At most `number` of the items, evenly spaced."""
    if len(items) <= number:
        return list(items)
    return [items[index * len(items) // number] for index in range(number)]


def of_run(run: StoredRun | None, values: Any) -> dict[str, Any]:
    return {"project": {"run": values if run is not None else None}}


@operation("RunHistoryKeys")
def keys(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    run = store.run(variables)
    return of_run(run, {"historyKeys": run and history_keys(run)})


@operation("RunParquetHistory")
def parquet(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """No row was exported to a file. The client then asks for pages."""
    run = store.run(variables, "runName")
    wanted = variables["liveKeys"]
    live = [{name: row.get(name) for name in wanted} for row in (rows(run) if run else [])]
    return of_run(run, {"parquetHistory": {"parquetUrls": [], "liveData": live}})


@operation("HistoryPage")
def page(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    run = store.run(variables, "run")
    first, end = int(variables["minStep"]), int(variables["maxStep"])
    found = [row for row in (rows(run) if run else []) if first <= row["_step"] < end]
    return of_run(run, {"history": [to_json(row) for row in thinned(found, variables["pageSize"])]})


@operation("RunFullHistory")
def sampled(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    run = store.run(variables)
    lines = thinned(rows(run) if run else [], variables.get("samples") or 500)
    return of_run(run, {"history": [to_json(row) for row in lines], "events": []})


@operation("RunSampledHistory", "SampledHistoryPage")
def sampled_with_all_keys(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """The rows that have every key, thinned."""
    run = store.run(variables) or store.run(variables, "run")
    answers = []
    for text in variables.get("specs") or [variables["spec"]]:
        spec = json.loads(text)
        found = [row for row in (rows(run) if run else []) if all(name in row for name in spec["keys"])]
        found = [row for row in found if spec.get("minStep", 0) <= row["_step"] < spec.get("maxStep", 1 << 62)]
        answers.append([{name: row[name] for name in spec["keys"]} for row in thinned(found, spec["samples"])])
    return of_run(run, {"sampledHistory": json.loads(to_json(answers))})
