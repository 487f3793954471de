"""`python -m analysis`: tables and figures from finished runs. `--help` loads nothing heavy."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import NoReturn

from analysis.render import SELECT, render
from lightning_xvol.errors import UserError, run_command_line


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as any other mistake of the user: one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m analysis", description="Tables and figures from finished runs.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tables = commands.add_parser(
        "tables", help="table.md, table.tex, table.csv and figure.png, .pdf, .svg of a sweep", allow_abbrev=False
    )
    tables.add_argument("--source", type=Path, required=True, metavar="DIR", help="the --out folder of a sweep")
    tables.add_argument("--sweep", metavar="NAME", help="the sweep to render (default: each one in the ledger)")
    tables.add_argument(
        "--select", choices=SELECT, default="last", help="which evaluation of a run counts (default: %(default)s)"
    )
    tables.add_argument("--out", type=Path, metavar="DIR", help="write to DIR/NAME/ (default: into the ledger)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    from analysis.sources import ledger

    names = ledger.sweeps(options.source)
    for name in names if options.sweep is None else [options.sweep]:
        rendering = render(options.source, name, options.select, options.out)
        print(f"{rendering.text}\n\n{rendering.where()}\n")
    return 0


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that lacks a minus sign or an en dash shows a question mark rather than a traceback.
        sys.stdout.reconfigure(errors="replace")
    run_command_line(main)
