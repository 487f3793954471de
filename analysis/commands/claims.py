"""`python -m analysis claims`: a verdict on each of the paper's claims."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.arguments import add_source, open_sources, tell_left_out
from lightning_xvol.errors import ExitCode


def add_to(commands: Any) -> None:
    parser = commands.add_parser("claims", help="print a verdict on each of the paper's claims", allow_abbrev=False)
    add_source(parser)
    parser.add_argument(
        "--format", choices=("markdown", "csv"), default="markdown", help="format of the output (default: %(default)s)"
    )


def run(parsed: argparse.Namespace) -> int:
    sources = open_sources(parsed.source)
    from analysis.paper import verdicts
    from analysis.table import to_csv

    found = verdicts.verdicts(sources, parsed.select)
    tell_left_out(sources.left_out())
    if parsed.format == "csv":
        print(to_csv(verdicts.to_frame(found)), end="")
    else:
        print(verdicts.to_markdown(found), end="")
    return ExitCode.SUCCESS
