"""What the server keeps: projects, runs, sweeps and whatever else is put into it."""

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
class Run:
    """A run. `config` is wrapped as on the wire (`{"lr": {"value": 0.1}}`); `lines` is its history as it came."""

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
    lines: dict[str, list[str]] = field(default_factory=dict)  # by file: wandb-history.jsonl, wandb-events.jsonl ...
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def history(self) -> list[str]:
        return self.lines.setdefault("wandb-history.jsonl", [])


@dataclass
class Sweep:
    """A grid: `left` are the parameters of its runs that no agent has yet."""

    entity: str
    project: str
    name: str
    id: str
    config: dict[str, Any]
    left: list[dict[str, Any]]
    state: str = "RUNNING"
    agents: dict[str, str] = field(default_factory=dict)  # id -> host


class Store:
    """Everything, behind one lock that the server takes for each request.

    `page_shifts` moves the beginnings of the next pages of a listing: -50 repeats a page of 50, 1 leaves a run out, as
    ties in the order do on W&B's server.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.projects: dict[tuple[str, str], int] = {}
        self.runs: dict[tuple[str, str, str], Run] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.page_shifts: list[int] = []
        self.address = ""
        self._ids = itertools.count(1)
        self._now = datetime.now(UTC)

    def now(self) -> datetime:
        """Later with every call, so that the order of runs is known."""
        self._now = max(datetime.now(UTC), self._now + timedelta(milliseconds=1))
        return self._now

    def new_id(self, kind: str) -> str:
        """As W&B makes them: base64 of what it is."""
        return base64.b64encode(f"{kind}:v1:{next(self._ids)}".encode()).decode()

    def project(self, entity: str, name: str) -> int:
        """Its internal id; it is made where there is none."""
        return self.projects.setdefault((entity, name), len(self.projects) + 1)

    def run(self, variables: Mapping[str, Any], name: str = "name") -> Run | None:
        """The run that a request's variables name."""
        key = (variables.get("entity") or ENTITY, variables.get("project") or "", variables.get(name) or "")
        return self.runs.get(key)

    def add_run(self, entity: str, project: str, name: str, **values: Any) -> Run:
        self.project(entity, project)
        now = self.now()
        run = Run(entity, project, name, self.new_id("Run"), created_at=now, heartbeat_at=now, **values)
        run.display_name = run.display_name or name
        self.runs[entity, project, name] = run
        return run
