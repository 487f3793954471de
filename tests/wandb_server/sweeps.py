"""Operations on sweeps: agents take the runs of a grid one by one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

import yaml

from tests.wandb_server.operations import operation
from tests.wandb_server.store import ENTITY, Store, Sweep
from tests.wandb_server.viewer import project_node


@operation("UpsertSweep")
def upsert_sweep(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    sweep = next((sweep for sweep in store.sweeps.values() if sweep.id == variables.get("id")), None)
    if sweep is None:
        sweep = _new_sweep(store, variables)
    if variables.get("state"):
        sweep.state = variables["state"]
    node = {"name": sweep.name, "project": project_node(store, sweep.entity, sweep.project)}
    return {"upsertSweep": {"sweep": node, "configValidationWarnings": []}}


def _new_sweep(store: Store, variables: Mapping[str, Any]) -> Sweep:
    config = yaml.safe_load(variables["config"])
    entity, project = variables.get("entityName") or ENTITY, variables.get("projectName") or "uncategorized"
    store.project(entity, project)
    names = list(config["parameters"])
    values = [p["values"] if "values" in p else [p["value"]] for p in config["parameters"].values()]
    grid = [dict(zip(names, point, strict=True)) for point in itertools.product(*values)]
    name = f"sweep{len(store.sweeps) + 1:03d}"
    store.sweeps[name] = Sweep(entity, project, name, store.new_id("Sweep"), config, grid)
    return store.sweeps[name]


@operation("SweepWithRuns", "GetSweep", "GetSweepLegacy", "GetSweepState", "SweepConfig")
def sweep(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    found = store.sweeps.get(variables.get("sweep") or variables.get("name") or "")
    if found is None:
        return {"project": {"sweep": None}}
    node = {
        "__typename": "Sweep", "id": found.id, "name": found.name, "displayName": found.name, "method": "grid",
        "state": found.state, "description": None, "bestLoss": None, "config": yaml.safe_dump(found.config),
        "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z", "heartbeatAt": None,
        "earlyStopJobRunning": False, "controller": None, "scheduler": None, "controllerRunName": None,
        "runCount": 0, "runCountExpected": None, "runs": {"edges": []},
    }  # fmt: skip
    return {"project": {"sweep": node}}


@operation("CreateAgent")
def create_agent(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    agent = store.new_id("Agent")
    store.sweeps[variables["sweep"]].agents[agent] = variables["host"]
    return {"createAgent": {"agent": {"id": agent}}}


@operation("Heartbeat")
def heartbeat(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """Give an idle agent the next run, or end it if no run is left."""
    found = next(sweep for sweep in store.sweeps.values() if variables["id"] in sweep.agents)
    commands = []
    if not json.loads(variables.get("runState") or "{}"):
        commands = [_next_command(store, found)]
    return {"agentHeartbeat": {"agent": {"id": variables["id"]}, "commands": json.dumps(commands)}}


def _next_command(store: Store, sweep: Sweep) -> dict[str, Any]:
    if not sweep.left:
        sweep.state = "FINISHED"
        return {"type": "exit"}
    point = sweep.left.pop(0)
    run = store.add_run(sweep.entity, sweep.project, f"{sweep.name}-{len(sweep.left)}", sweep=sweep.name)
    args = {name: {"value": value} for name, value in point.items()}
    return {"type": "run", "run_id": run.name, "program": sweep.config.get("program", ""), "args": args}
