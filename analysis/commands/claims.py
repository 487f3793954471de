"""`python -m analysis claims`: a verdict on each of the paper's claims."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.arguments import add_source, open_sources
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

    found = verdicts.verdicts(sources, parsed.select)
    if parsed.format == "csv":
        print(verdicts.to_frame(found).to_csv(index=False, lineterminator="\n"), end="")
    else:
        print(verdicts.to_markdown(found), end="")
    return ExitCode.SUCCESS
