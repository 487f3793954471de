"""Operations on the user, the features of the server and its projects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.wandb_server.operations import operation
from tests.wandb_server.store import ENTITY, Store


def user() -> dict[str, Any]:
    return {
        "__typename": "User", "id": "VXNlcjox", "name": "A Tester", "username": ENTITY, "entity": ENTITY,
        "email": "tester@example.org", "admin": False, "flags": "{}", "deletedAt": None, "apiKeys": {"edges": []},
        "teams": {"edges": []},
    }  # fmt: skip


@operation("Viewer", "GetViewer", "GetDefaultEntity")
def viewer(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    return {"viewer": user()}


@operation("ServerFeaturesQuery")
def features(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    return {"serverInfo": {"features": []}}


def project_node(store: Store, entity: str, name: str) -> dict[str, Any]:
    number = store.projects[entity, name]
    return {
        "__typename": "Project", "id": f"project-{number}", "internalId": str(number), "name": name,
        "entityName": entity, "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False, "readOnly": False,
        "user": user(), "entity": {"id": f"entity-{entity}", "name": entity},
    }  # fmt: skip


@operation("GetProjects")
def projects(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    entity = variables.get("entity") or ENTITY
    nodes = [project_node(store, *key) for key in store.projects if key[0] == entity]
    page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    return {"models": {"pageInfo": page, "edges": [{"node": node, "cursor": node["id"]} for node in nodes]}}
