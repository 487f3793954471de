"""Saved views of a W&B project: workspaces and reports, found again by a name of ours and then written over."""

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

WORKSPACE, REPORT = "project-view", "runs"  # what W&B calls their types
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
    """A view as the server keeps it: its `type`, its `name` (W&B's address of it, not the title) and its content.

    `kind` and `shows` tell a person what it is and what is in it.
    """

    kind: str
    type: str
    name: str
    title: str
    spec: Mapping[str, Any]
    shows: str

    def content(self, entity: str, project: str) -> dict[str, Any]:
        """What is sent of it, but for the id of the view that it writes over and for `spec`, which goes as text."""
        return {
            "entityName": entity, "projectName": project, "type": self.type, "name": self.name,
            "displayName": self.title, "description": "", "spec": dict(self.spec),
        }  # fmt: skip


class Project:
    """A project on the server that `WANDB_BASE_URL` or the user's settings name, with the user's key.

    Raises:
        UserError: without a key, where the server does not answer or refuses, or where there is no such project.
    """

    def __init__(self, entity: str, name: str) -> None:
        self.entity, self.name = entity, name
        with self._asking():
            self._api = connect()
        self.id = str(self._find(REPORT, "")["internalId"])

    def save(self, view: View) -> tuple[str, bool]:
        """The address of `view`, and whether it is new: one of its type and name is written over."""
        edges = self._find(view.type, view.name)["allViews"]["edges"]
        known = next((edge["node"]["id"] for edge in edges if edge["node"]["name"] == view.name), None)
        content = view.content(self.entity, self.name)
        saved = self._ask(upsert_view, {**content, "id": known, "spec": json.dumps(content["spec"])})
        place = f"{get_app_url(self._api)}{self.entity}/{self.name}"
        if view.type == REPORT:
            identity = saved["upsertView"]["view"]["id"].rstrip("=")
            address = f"{place}/reports/{view.title.replace(' ', '-')}--{identity}"
        else:
            address = f"{place}?nw={view.name.removeprefix('nw-').removesuffix('-v')}"
        return address, known is None

    def _find(self, kind: str, name: str) -> dict[str, Any]:
        """The project, with those of its views that have this type and this name.

        Raises:
            UserError: where there is none.
        """
        variables = {"entity": self.entity, "project": self.name, "type": kind, "name": name}
        project = self._ask(FIND, variables)["project"]
        if project is None:
            raise UserError(
                f"W&B has no project '{self.entity}/{self.name}' that you may see; check --entity and --project, or "
                "bring runs there first: wandb sync"
            )
        return dict(project)

    def _ask(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        with self._asking():
            return execute_graphql(self._api, document, variables)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """What goes wrong between here and the server is a `UserError`."""
        try:
            yield
        except Exception as error:
            raise UserError(f"cannot save to '{self.entity}/{self.name}' on W&B: {reason(error)}") from error
