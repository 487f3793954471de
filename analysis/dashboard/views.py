"""Saved views of a W&B project: workspaces and reports. Saving finds a view by our name for it and overwrites it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wandb_workspaces._graphql import execute_graphql, get_app_url
from wandb_workspaces.reports.v2.gql import upsert_view

from analysis.sources.server import connect, reason
from lightning_xvol.errors import UserError

WORKSPACE, REPORT = "project-view", "runs"  # W&B's names for the types
FIND = """
    query FindView($entity: String!, $project: String!, $type: String!, $name: String!) {
        project(name: $project, entityName: $entity) {
            internalId
            allViews(viewType: $type, viewName: $name) { edges { node { id name } } }
        }
    }
"""


@dataclass(frozen=True)
class View:
    """A view as the server stores it.

    Attributes:
        kind: "workspace" or "report", for messages.
        type: W&B's name for the kind.
        name: The name in W&B's address of the view.
        title: The title that people see.
        spec: The content.
        shows: A summary of the content, for messages.
    """

    kind: str
    type: str
    name: str
    title: str
    spec: Mapping[str, Any]
    shows: str

    def content(self, entity: str, project: str) -> dict[str, Any]:
        """The message that saves this view. `Project.save` adds the id of the old view and sends `spec` as text."""
        return {
            "entityName": entity, "projectName": project, "type": self.type, "name": self.name,
            "displayName": self.title, "description": "", "spec": dict(self.spec),
        }  # fmt: skip


class Project:
    """A project on the W&B server of `WANDB_BASE_URL` or of the user's settings. It uses the user's API key.

    Raises:
        UserError: if there is no key, the server does not answer or refuses, or there is no such project.
    """

    def __init__(self, entity: str, name: str) -> None:
        self.entity, self.name = entity, name
        with self._asking():
            self._api = connect()
        self.id = str(self._find(REPORT, "")["internalId"])

    def save(self, view: View) -> tuple[str, bool]:
        """Save `view`, over a view of the same type and name. Returns its address, and whether it is new."""
        edges = self._find(view.type, view.name)["allViews"]["edges"]
        known = next((edge["node"]["id"] for edge in edges if edge["node"]["name"] == view.name), None)
        content = view.content(self.entity, self.name)
        saved = self._ask(upsert_view, {**content, "id": known, "spec": json.dumps(content["spec"])})
        project = f"{get_app_url(self._api)}{self.entity}/{self.name}"
        if view.type == REPORT:
            identity = saved["upsertView"]["view"]["id"].rstrip("=")
            address = f"{project}/reports/{view.title.replace(' ', '-')}--{identity}"
        else:
            address = f"{project}?nw={view.name.removeprefix('nw-').removesuffix('-v')}"
        return address, known is None

    def _find(self, kind: str, name: str) -> dict[str, Any]:
        """The project, with its views of this type and name.

        Raises:
            UserError: if there is no such project.
        """
        variables = {"entity": self.entity, "project": self.name, "type": kind, "name": name}
        project = self._ask(FIND, variables)["project"]
        if project is None:
            raise UserError(
                f"W&B has no project '{self.entity}/{self.name}' that you may see; check --entity and --project, or "
                "upload runs to it first with wandb sync"
            )
        return dict(project)

    def _ask(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        with self._asking():
            return execute_graphql(self._api, document, variables)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn every failure of the connection into a `UserError`."""
        try:
            yield
        except Exception as error:
            raise UserError(f"cannot save to '{self.entity}/{self.name}' on W&B: {reason(error)}") from error
