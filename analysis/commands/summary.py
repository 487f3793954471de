"""`python -m analysis summary`: the state of the sweeps and their results, for the terminal."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.arguments import add_source, open_sources
from lightning_xvol.errors import ExitCode


def add_to(commands: Any) -> None:
    parser = commands.add_parser("summary", help="print the state of the sweeps and their results", allow_abbrev=False)
    add_source(parser)


def run(parsed: argparse.Namespace) -> int:
    sources = open_sources(parsed.source)
    from analysis.report.summary import summarise

    print(summarise(sources, parsed.select))
    return ExitCode.SUCCESS
