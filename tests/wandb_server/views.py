"""Operations on saved views: workspaces (type project-view) and reports (type runs)."""

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
    """Find the views of one type and one name, as the dashboard asks for them (`allViews`)."""
    key = (variables["entity"], variables["project"])
    if key not in store.projects:
        return {"project": None}
    wanted = {"entityName": key[0], "projectName": key[1], "type": variables["type"], "name": variables["name"]}
    found = [view for view in store.views.values() if wanted.items() <= view.items()]
    edges = [{"node": {"id": view["id"], "name": view["name"]}} for view in found]
    return {"project": {**project_node(store, *key), "allViews": {"edges": edges}}}


@operation("View")
def workspace(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """Load a workspace from its address, as wandb-workspaces asks for it."""
    wanted = {"entityName": variables["entityName"], "projectName": variables["name"], "name": variables["viewName"]}
    found = [view for view in store.views.values() if wanted.items() <= view.items()]
    return {"project": {"allViews": {"edges": [{"node": view} for view in found]}}}


@operation("SpecificReport")
def report(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """Load a report, as wandb-workspaces asks for it."""
    view = store.views.get(variables["reportId"])
    if view is None:
        return {"view": None}
    moment = as_time(store.now())
    project = project_node(store, view["entityName"], view["projectName"])
    return {"view": {**view, "project": project, "createdAt": moment, "updatedAt": moment}}


@operation("upsertView")
def upsert_view(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """Save a view. Without an id it is a new view, even if another view has the same name."""
    json.loads(variables["spec"])
    identity = variables.get("id") or store.new_id("View")
    inserted = identity not in store.views
    store.views[identity] = {**variables, "id": identity}
    return {"upsertView": {**report(store, {"reportId": identity}, document), "inserted": inserted}}
