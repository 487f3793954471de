"""`python -m analysis`: tables, figures and verdicts from finished runs. `--help` loads nothing heavy."""

from __future__ import annotations

import argparse
import io
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.render import INTERVALS, PAPER_TABLES, SELECT, WITHOUT_RUNS, render, render_paper
from lightning_xvol.commandline import Parser
from lightning_xvol.errors import UserError, run_command_line

if TYPE_CHECKING:
    from analysis.sources.collection import Collection


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m analysis", description="Tables, figures and verdicts from finished runs.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tables = commands.add_parser(
        "tables",
        help="table.md, table.tex, table.csv and figure.png, .pdf, .svg of a sweep; or the paper's tables",
        allow_abbrev=False,
    )
    add_source(tables)
    tables.add_argument("--sweep", metavar="NAME", help="the sweep to render (default: each one)")
    tables.add_argument(
        "--paper", nargs="*", type=int, choices=PAPER_TABLES, metavar="N",
        help="render these tables of the paper, in its layout, instead (default: those that there are runs for); "
        "5 and 7 need no --source",
    )  # fmt: skip
    tables.add_argument(
        "--interval", choices=INTERVALS, default="t", help="of a sweep's differences (default: Student's t)"
    )
    tables.add_argument("--holm", action="store_true", help="adjust a sweep's p-values for its comparisons")
    tables.add_argument(
        "--out", type=Path, metavar="DIR",
        help="write to DIR/NAME/, and the paper's tables to DIR/paper/ (default: into the first source)",
    )  # fmt: skip
    claims = commands.add_parser("claims", help="a verdict on each of the paper's claims", allow_abbrev=False)
    add_source(claims)
    claims.add_argument("--format", choices=("markdown", "csv"), default="markdown", help="default: %(default)s")
    report = commands.add_parser(
        "report", help="report.html: verdicts, tables, figures and runs as one page without network", allow_abbrev=False
    )
    add_source(report)
    report.add_argument("--out", type=Path, metavar="DIR", help="write to DIR/report.html (default: the first source)")
    summary = commands.add_parser("summary", help="how far the sweeps are, and what they found", allow_abbrev=False)
    add_source(summary)
    return parser


def add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", action="append", default=[], metavar="DIR",
        help="the --out folder of a sweep, or one of W&B offline runs alone; repeatable: runs are merged by id",
    )  # fmt: skip
    parser.add_argument(
        "--select", choices=SELECT, default="last", help="which evaluation of a run counts (default: %(default)s)"
    )


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = build_parser().parse_args(arguments)
    if options.command == "claims":
        return print_claims(options)
    if options.command == "report":
        return make_report(options, arguments)
    if options.command == "summary":
        return print_summary(options)
    if options.paper is not None:
        return render_paper_tables(options)
    sources = open_sources(options.source)
    names = sources.sweeps()
    for name in names if options.sweep is None else [options.sweep]:
        out = options.out or Path(options.source[0])
        rendering = render(sources, name, out, options.select, options.interval, options.holm)
        print(f"{rendering.text}\n\n{rendering.where()}\n")
    return 0


def render_paper_tables(options: argparse.Namespace) -> int:
    numbers = options.paper
    sources = None if numbers and set(numbers) <= set(WITHOUT_RUNS) else open_sources(options.source)
    out = options.out or Path(options.source[0] if options.source else ".")
    for rendering in render_paper(sources, numbers, out, options.select):
        print(f"{rendering.text}\n\n{rendering.where()}\n")
    return 0


def print_claims(options: argparse.Namespace) -> int:
    from analysis import verdicts

    found = verdicts.verdicts(open_sources(options.source), options.select)
    if options.format == "csv":
        print(verdicts.to_frame(found).to_csv(index=False, lineterminator="\n"), end="")
    else:
        print(verdicts.to_markdown(found), end="")
    return 0


def make_report(options: argparse.Namespace, arguments: list[str]) -> int:
    sources = open_sources(options.source)
    from analysis.report.page import write_report

    out = options.out or Path(options.source[0])
    command = shlex.join(["python", "-m", "analysis", *arguments])
    print(f"report: {write_report(sources, out, command, options.select)}")
    return 0


def print_summary(options: argparse.Namespace) -> int:
    sources = open_sources(options.source)
    from analysis.summary import summarise

    print(summarise(sources, options.select))
    return 0


def open_sources(names: list[str]) -> Collection:
    """The sources, after a line on stderr for each file of theirs that cannot be read whole.

    Raises:
        UserError: where none is named, or one holds no runs.
    """
    if not names:
        raise UserError("--source is missing: name the --out folder of a sweep, or a folder of W&B offline runs")
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
