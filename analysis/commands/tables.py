"""`python -m analysis tables`: a sweep's table and figure, or the paper's tables."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.arguments import add_out, add_source, each_sweep, open_sources, out_folder, tell_left_out
from analysis.render import INTERVALS, PAPER_TABLES, WITHOUT_RUNS, render, render_paper
from lightning_xvol.errors import ExitCode


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "tables",
        help="write table.md, table.tex, table.csv and figure.png, .pdf, .svg of a sweep; or the paper's tables",
        allow_abbrev=False,
    )
    add_source(parser)
    parser.add_argument("--sweep", metavar="NAME", help="the sweep to render (default: each one)")
    parser.add_argument(
        "--paper", nargs="*", type=int, choices=PAPER_TABLES, metavar="N",
        help="render these tables of the paper instead, in its layout (default: those that have runs); "
        "5 and 7 need no --source",
    )  # fmt: skip
    parser.add_argument(
        "--interval",
        choices=INTERVALS,
        default="t",
        help="how the interval of a difference is computed (default: Student's t)",
    )
    parser.add_argument("--holm", action="store_true", help="adjust the p-values for all comparisons of a sweep (Holm)")
    add_out(parser, "to DIR/NAME/, and the paper's tables to DIR/paper/")


def run(parsed: argparse.Namespace) -> int:
    if parsed.paper is not None:
        return _run_paper(parsed)
    sources = open_sources(parsed.source)
    out = out_folder(parsed)

    def act(name: str) -> str:
        rendering = render(sources, name, out, parsed.select, parsed.interval, parsed.holm)
        return f"{rendering.text}\n\n{rendering.where()}\n"

    each_sweep(sources, parsed.sweep, act)
    return ExitCode.SUCCESS


def _run_paper(parsed: argparse.Namespace) -> int:
    numbers = parsed.paper
    sources = None if numbers and set(numbers) <= set(WITHOUT_RUNS) else open_sources(parsed.source)
    for rendering in render_paper(sources, numbers, out_folder(parsed), parsed.select):
        print(f"{rendering.text}\n\n{rendering.where()}\n")
    tell_left_out(sources.left_out() if sources is not None else ())
    return ExitCode.SUCCESS
