"""`python -m analysis`: tables and figures from finished runs. `--help` loads nothing heavy."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.render import SELECT, render
from lightning_xvol.commandline import Parser
from lightning_xvol.errors import run_command_line

if TYPE_CHECKING:
    from analysis.sources.collection import Collection


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m analysis", description="Tables and figures from finished runs.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tables = commands.add_parser(
        "tables", help="table.md, table.tex, table.csv and figure.png, .pdf, .svg of a sweep", allow_abbrev=False
    )
    add_source(tables)
    tables.add_argument("--sweep", metavar="NAME", help="the sweep to render (default: each one)")
    tables.add_argument(
        "--select", choices=SELECT, default="last", help="which evaluation of a run counts (default: %(default)s)"
    )
    tables.add_argument("--out", type=Path, metavar="DIR", help="write to DIR/NAME/ (default: into the first source)")
    return parser


def add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", action="append", required=True, metavar="DIR",
        help="the --out folder of a sweep, or one of W&B offline runs alone; repeatable: runs are merged by id",
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    sources = open_sources(options.source)
    names = sources.sweeps()
    for name in names if options.sweep is None else [options.sweep]:
        rendering = render(sources, name, options.out or Path(options.source[0]), options.select)
        print(f"{rendering.text}\n\n{rendering.where()}\n")
    return 0


def open_sources(names: list[str]) -> Collection:
    """The sources, after a line on stderr for each file of theirs that cannot be read whole."""
    from analysis.sources.collection import Collection

    sources = Collection(names)
    for loss in sources.losses:
        print(f"note: {loss}", file=sys.stderr)
    return sources


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that lacks a minus sign or an en dash shows a question mark rather than a traceback.
        sys.stdout.reconfigure(errors="replace")
    run_command_line(main)
