"""`python -m analysis dashboard`: a workspace and a report on W&B."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from analysis.commands.arguments import add_source, open_sources, tell_left_out
from lightning_xvol.config.schema import DEFAULT_PROJECT
from lightning_xvol.errors import ExitCode, UserError


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "dashboard", help="create or update a W&B workspace and a W&B report of a project", allow_abbrev=False
    )
    add_source(parser)
    parser.add_argument("--entity", required=True, metavar="E", help="the W&B user or team")
    parser.add_argument(
        "--project", default=DEFAULT_PROJECT, metavar="P", help="the W&B project (default: %(default)s)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print both views as JSON and save nothing")


def run(parsed: argparse.Namespace) -> int:
    try:
        from analysis.dashboard import panels
        from analysis.dashboard.views import Project
    except ModuleNotFoundError as error:
        raise UserError(f"the dashboard needs {error.name}, which is not installed; make env installs it") from error
    target = parsed.entity, parsed.project
    for flag, name in zip(("--entity", "--project"), target, strict=True):
        if not name or "/" in name:
            raise UserError(f"{flag} {name!r} must be one name, as in wandb.ai/ENTITY/PROJECT")
    sources = open_sources(parsed.source) if parsed.source else None
    tell_left_out(sources.left_out() if sources else ())
    if parsed.dry_run:
        views = panels.views(sources, parsed.select, *target)
        print(json.dumps({view.kind: view.content(*target) for view in views}, indent=2, ensure_ascii=False))
        for view in views:
            print(f"{view.kind} not saved ({view.shows})", file=sys.stderr)
        return ExitCode.SUCCESS
    project = Project(*target)
    for view in panels.views(sources, parsed.select, *target, project.id):
        address, new = project.save(view)
        print(f"{view.kind} {'created' if new else 'updated'} ({view.shows}): {address}")
    return ExitCode.SUCCESS
