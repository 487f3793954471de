"""Saved views: workspaces (type project-view) and reports (type runs), found by their name and written over by id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.wandb_server.operations import operation
from tests.wandb_server.store import Store
from tests.wandb_server.viewer import project_node
from tests.wandb_server.wire import as_time


@operation("FindView")
def find_view(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """What the dashboard asks, in W&B's own terms: `allViews` of one type, and of one name."""
    key = (variables["entity"], variables["project"])
    if key not in store.projects:
        return {"project": None}
    wanted = {"entityName": key[0], "projectName": key[1], "type": variables["type"], "name": variables["name"]}
    found = [view for view in store.views.values() if wanted.items() <= view.items()]
    edges = [{"node": {"id": view["id"], "name": view["name"]}} for view in found]
    return {"project": {**project_node(store, *key), "allViews": {"edges": edges}}}


@operation("View")
def workspace(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """How wandb-workspaces loads a workspace from its address."""
    wanted = {"entityName": variables["entityName"], "projectName": variables["name"], "name": variables["viewName"]}
    found = [view for view in store.views.values() if wanted.items() <= view.items()]
    return {"project": {"allViews": {"edges": [{"node": view} for view in found]}}}


@operation("SpecificReport")
def report(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """How it loads a report."""
    view = store.views.get(variables["reportId"])
    if view is None:
        return {"view": None}
    moment = as_time(store.now())
    project = project_node(store, view["entityName"], view["projectName"])
    return {"view": {**view, "project": project, "createdAt": moment, "updatedAt": moment}}


@operation("upsertView")
def upsert_view(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """Without an id it is a new view, whatever its name: names alone do not keep from duplicates."""
    json.loads(variables["spec"])
    identity = variables.get("id") or store.new_id("View")
    inserted = identity not in store.views
    store.views[identity] = {**variables, "id": identity}
    return {"upsertView": {**report(store, {"reportId": identity}, document), "inserted": inserted}}
