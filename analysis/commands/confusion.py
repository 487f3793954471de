"""`python -m analysis confusion`: per-class accuracy and confusion matrices of a sweep."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from analysis.commands.arguments import add_look, add_notes, add_out, add_source, open_sources, out_folder
from analysis.output.confusion import render_confusion
from lightning_xvol.commandline import selection
from lightning_xvol.errors import ExitCode


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "confusion",
        help="write the per-class accuracy and the confusion matrices of a sweep, as tables and figures",
        allow_abbrev=False,
    )
    add_source(parser, select=False)
    parser.add_argument("--sweep", metavar="NAME", help="the sweep to render (default: each one)")
    parser.add_argument(
        "--only", action="append", default=[], type=selection, metavar="KEY=V1,V2",
        help="only rows with these values; the key is operator or an axis of the sweep; repeatable",
    )  # fmt: skip
    add_notes(parser)
    add_look(parser)
    add_out(parser, "to DIR/NAME/")


def run(parsed: argparse.Namespace) -> int:
    sources = open_sources(parsed.source)
    out = out_folder(parsed)
    for name in sources.sweeps() if parsed.sweep is None else [parsed.sweep]:
        problems: list[str] = []
        rendering = render_confusion(
            sources, name, out, parsed.only, problems, parsed.style, not parsed.no_caption, parsed.notes, parsed.siunitx
        )
        for problem in problems:
            print(f"note: {problem}", file=sys.stderr)
        print("\n\n".join(filter(None, (rendering.text, rendering.where()))) + "\n")
    return ExitCode.SUCCESS
