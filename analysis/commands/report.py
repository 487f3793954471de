"""`python -m analysis report`: verdicts, tables, figures and runs as one page."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from analysis.commands.arguments import (
    add_notes,
    add_out,
    add_shown,
    add_source,
    metrics_of,
    only_of,
    open_sources,
    out_folder,
)  # fmt: skip
from lightning_xvol.errors import ExitCode


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "report", help="write report.html: one page with verdicts, tables, figures and runs", allow_abbrev=False
    )
    add_source(parser)
    add_shown(parser)
    add_notes(parser, siunitx=False)
    add_out(parser, "DIR/report.html")
    parser.add_argument(
        "--protocol", type=Path, metavar="FILE",
        help="the protocol of the experiment; what it does not plan is called exploratory (default: the file that the "
        "runs name, if it is here)",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    sources = open_sources(parsed.source)
    from analysis.report.page import write_report

    only, metrics = only_of(parsed), metrics_of(parsed)
    command = shlex.join(["python", "-m", "analysis", *parsed.arguments])
    path = out_folder(parsed) / "report.html"
    write_report(sources, path, command, parsed.select, parsed.protocol, only, metrics, parsed.notes)
    print(f"report: {path}")
    return ExitCode.SUCCESS
