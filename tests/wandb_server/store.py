"""The content of the server: projects, runs, sweeps and views."""

from __future__ import annotations

import base64
import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

ENTITY = "tester"


@dataclass
class StoredRun:
    """A run on the server.

    `config` has the shape of W&B's messages (`{"lr": {"value": 0.1}}`). `lines` holds the lines of each file as the
    client sent them.
    """

    entity: str
    project: str
    name: str
    id: str
    created_at: datetime
    heartbeat_at: datetime
    display_name: str = ""
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    commit: str | None = None
    sweep: str | None = None
    state: str = "running"
    exit_code: int | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)  # by file, for example wandb-history.jsonl
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def history(self) -> list[str]:
        return self.lines.setdefault("wandb-history.jsonl", [])


@dataclass
class Sweep:
    """A grid of parameters. `left` holds the points that no agent has taken yet."""

    entity: str
    project: str
    name: str
    id: str
    config: dict[str, Any]
    left: list[dict[str, Any]]
    state: str = "RUNNING"
    agents: dict[str, str] = field(default_factory=dict)  # id -> host


@dataclass
class Artifact:
    """An artifact of a run, with its uploaded files by name."""

    entity: str
    project: str
    run: str
    name: str
    type: str
    id: str
    committed: bool = False
    files: dict[str, bytes] = field(default_factory=dict)


class Store:
    """The content of the server. The server takes `lock` for each request.

    `page_shifts` moves the beginnings of the next pages of a listing, because ties in the order have this effect on
    W&B's server: -50 repeats a page of 50 runs, and 1 skips a run.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.projects: dict[tuple[str, str], int] = {}
        self.runs: dict[tuple[str, str, str], StoredRun] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.page_shifts: list[int] = []
        self.address = ""
        self._ids = itertools.count(1)
        self._now = datetime.now(UTC)

    def now(self) -> datetime:
        """A time that is later with every call, so that the order of runs is certain."""
        self._now = max(datetime.now(UTC), self._now + timedelta(milliseconds=1))
        return self._now

    def new_id(self, kind: str) -> str:
        """An id like W&B's: base64 of a kind and a number."""
        return base64.b64encode(f"{kind}:v1:{next(self._ids)}".encode()).decode()

    def project(self, entity: str, name: str) -> int:
        """The internal id of a project, which is created if it does not exist."""
        return self.projects.setdefault((entity, name), len(self.projects) + 1)

    def run(self, variables: Mapping[str, Any], name: str = "name") -> StoredRun | None:
        """The run that a request's variables name."""
        key = (variables.get("entity") or ENTITY, variables.get("project") or "", variables.get(name) or "")
        return self.runs.get(key)

    def add_run(self, entity: str, project: str, name: str, **values: Any) -> StoredRun:
        self.project(entity, project)
        now = self.now()
        run = StoredRun(entity, project, name, self.new_id("Run"), created_at=now, heartbeat_at=now, **values)
        run.display_name = run.display_name or name
        self.runs[entity, project, name] = run
        return run
