"""`python -m analysis claims`: print a verdict on each of the paper's claims."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.arguments import add_shown, add_source, metrics_of, only_of, open_sources, tell_left_out
from lightning_xvol.commandline import terminal_width
from lightning_xvol.errors import ExitCode

FORMATS = ("text", "markdown", "csv")


def add_to(commands: Any) -> None:
    parser = commands.add_parser("claims", help="print a verdict on each of the paper's claims", allow_abbrev=False)
    add_source(parser)
    add_shown(parser, "operator")
    parser.add_argument(
        "--all", action="store_true",
        help="also show the claims that are not decided here, with what would decide them",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], type=lambda text: "markdown" if text == "md" else text,
        help="text for a terminal, or a table of all claims in Markdown or CSV (default: %(default)s)",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    only, metrics = only_of(parsed), metrics_of(parsed)
    sources = open_sources(parsed.source)
    from analysis.paper import verdicts
    from analysis.paper.shown import Shown
    from analysis.paper.verdict_text import to_text
    from analysis.table import to_csv

    shown = Shown.of(only, metrics)
    every = verdicts.verdicts(sources, parsed.select)
    found = [verdict for verdict in every if shown.has_claim(verdict)]
    tell_left_out(sources.left_out())
    count, of = (len({item.claim.number for item in items}) for items in (found, every))
    note = shown.note(count, of, "claims")
    if parsed.format == "csv":
        print(to_csv(verdicts.to_frame(found)), end="")
    elif parsed.format == "markdown":
        print(verdicts.to_markdown(found, note), end="")
    else:
        print(to_text(found, terminal_width(), parsed.all, note))
    return ExitCode.SUCCESS
