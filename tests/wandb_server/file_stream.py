"""The messages of a running client: lines of history, summary and log, and the end of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.wandb_server.store import Store


def take(store: Store, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Store a message for the run of `path` (/files/ENTITY/PROJECT/RUN/file_stream)."""
    _, _, entity, project, name, _ = path.split("/")
    run = store.runs[entity, project, name]
    for file, chunk in (content.get("files") or {}).items():
        lines, offset = run.lines.setdefault(file, []), chunk.get("offset") or 0
        lines[offset : offset + len(chunk["content"])] = chunk["content"]
        if file == "wandb-summary.json":
            run.summary = json.loads(lines[-1])
    if content.get("complete"):
        run.exit_code = content.get("exitcode", 0)
        run.state = "failed" if run.exit_code else "finished"
    run.heartbeat_at = store.now()
    return {}
