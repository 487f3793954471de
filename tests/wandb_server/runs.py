"""Operations on runs: list them with filters and pages, read, begin, change and resume one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.wandb_server.filters import matches, sort_key
from tests.wandb_server.histories import history_keys
from tests.wandb_server.operations import operation
from tests.wandb_server.store import ENTITY, Store, StoredRun
from tests.wandb_server.viewer import project_node, user
from tests.wandb_server.wire import as_time, to_json

HEAVY = ("config", "summaryMetrics", "systemMetrics", "historyKeys")


def run_node(store: Store, run: StoredRun, document: str) -> dict[str, Any]:
    """A run with the fields that the client's fragments read. The lightweight fragment leaves out large fields."""
    node = {
        "id": run.id, "projectId": str(store.project(run.entity, run.project)), "name": run.name,
        "displayName": run.display_name, "sweepName": run.sweep, "state": run.state, "tags": run.tags,
        "group": run.group, "jobType": run.job_type, "commit": run.commit, "readOnly": False,
        "createdAt": as_time(run.created_at), "heartbeatAt": as_time(run.heartbeat_at), "description": None,
        "notes": run.notes, "historyLineCount": len(run.history), "user": user(), "config": json.dumps(run.config),
        "summaryMetrics": to_json(run.summary), "systemMetrics": "{}", "historyKeys": history_keys(run),
        "exitcode": run.exit_code, "stopped": False,
        "project": project_node(store, run.entity, run.project),
    }  # fmt: skip
    if "fragment LightweightRunFragment" in document:
        node = {key: value for key, value in node.items() if key not in HEAVY}
    return node


@operation("Runs")
def runs(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """A page of runs. The cursor is the number of runs before it."""
    key = (variables.get("entity") or ENTITY, variables["project"])
    if key not in store.projects:
        return {"project": None}
    wanted = json.loads(variables.get("filters") or "{}")
    order = variables.get("order") or "+created_at"
    found = [run for run in store.runs.values() if (run.entity, run.project) == key and matches(run, wanted)]
    found.sort(key=lambda run: sort_key(run, order), reverse=order.startswith("-"))
    size, start = variables.get("perPage") or 50, int(variables.get("cursor") or 0)
    if start and store.page_shifts:
        start = max(0, start + store.page_shifts.pop(0))
    page = found[start : start + size]
    edges = [
        {"node": run_node(store, run, document), "cursor": str(start + number + 1)} for number, run in enumerate(page)
    ]
    info = {"endCursor": str(start + len(page)), "hasNextPage": start + size < len(found)}
    listing = {"edges": edges, "pageInfo": info}
    return {"project": {**project_node(store, *key), "runCount": len(found), "runs": listing}}


@operation("Run", "RunState")
def run(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    found = store.run(variables) or store.run(variables, "run")
    key = (variables.get("entity") or ENTITY, variables.get("project") or "")
    if key not in store.projects:
        return {"project": None}
    return {"project": {"run": run_node(store, found, document) if found else None}}


@operation("UpsertBucket")
def upsert_bucket(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """Begin a run (`wandb.init`), or change its configuration."""
    found = next((run for run in store.runs.values() if run.id == variables.get("id")), None) or store.run(variables)
    entity, project = variables.get("entity") or ENTITY, variables.get("project") or "uncategorized"
    inserted = found is None
    found = found or store.add_run(entity, project, variables.get("name") or store.new_id("run"))
    fields = {
        "groupName": "group", "displayName": "display_name", "display_name": "display_name", "notes": "notes",
        "commit": "commit", "jobType": "job_type", "sweep": "sweep", "tags": "tags", "state": "state",
    }  # fmt: skip
    for variable, attribute in fields.items():
        if variables.get(variable):
            setattr(found, attribute, variables[variable])
    if variables.get("config"):
        found.config = json.loads(variables["config"])
    if variables.get("summaryMetrics"):
        found.summary = json.loads(variables["summaryMetrics"])
    if not variables.get("id"):
        found.state = variables.get("state") or "running"
    found.heartbeat_at = store.now()
    return {"upsertBucket": {"bucket": run_node(store, found, document), "inserted": inserted}}


@operation("RunResumeStatus")
def resume_status(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    key = (variables.get("entity") or ENTITY, variables.get("project") or "")
    if key not in store.projects:
        return {"model": None}
    found = store.run(variables)
    bucket = None
    if found is not None:
        bucket = run_node(store, found, document) | {
            "logLineCount": len(found.lines.get("output.log", [])),
            "eventsLineCount": len(found.lines.get("wandb-events.jsonl", [])),
            "historyTail": json.dumps(found.history[-1:]),
            "eventsTail": json.dumps(found.lines.get("wandb-events.jsonl", [])[-1:]),
            "wandbConfig": json.dumps({"t": 1}),
        }
    return {"model": {**project_node(store, *key), "bucket": bucket}}


@operation("CreateRunFiles")
def create_files(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    found = store.run(variables, "run")
    if found is None:
        return {"createRunFiles": None}
    path = f"/upload/{found.entity}/{found.project}/{found.name}"
    files = [{"name": name, "uploadUrl": f"{store.address}{path}/{name}"} for name in variables["files"]]
    return {"createRunFiles": {"runID": found.id, "uploadHeaders": [], "files": files}}
