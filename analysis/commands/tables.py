"""`python -m analysis tables`: write a sweep's table and figure, or the paper's tables."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.arguments import (
    add_interval,
    add_notes,
    add_out,
    add_shown,
    add_source,
    each_sweep,
    metrics_of,
    only_of,
    open_sources,
    out_folder,
    tell_left_out,
)  # fmt: skip
from analysis.output.paper import render_paper
from analysis.output.sweep import render
from analysis.render import PAPER_TABLES, WITHOUT_RUNS
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
    add_shown(parser)
    add_interval(parser)
    parser.add_argument(
        "--diagnostic", action="store_true", help="print what the variances of each table have in common"
    )
    add_notes(parser)
    add_out(parser, "to DIR/NAME/, and the paper's tables to DIR/paper/")


def run(parsed: argparse.Namespace) -> int:
    if parsed.paper is not None:
        return _run_paper(parsed)
    only, metrics = only_of(parsed), metrics_of(parsed)
    sources = open_sources(parsed.source)
    out = out_folder(parsed)

    def act(name: str) -> str:
        rendering = render(
            sources, name, out, parsed.select, parsed.interval, only, metrics, parsed.notes, parsed.siunitx
        )
        diagnostic = f"{rendering.diagnostic}\n\n" if parsed.diagnostic else ""
        return f"{rendering.text}\n\n{diagnostic}{rendering.where()}\n"

    each_sweep(sources.sweeps(), parsed.sweep, act, sources.unfit())
    return ExitCode.SUCCESS


def _run_paper(parsed: argparse.Namespace) -> int:
    numbers, only, metrics = parsed.paper, only_of(parsed), metrics_of(parsed)
    sources = None if numbers and set(numbers) <= set(WITHOUT_RUNS) else open_sources(parsed.source)
    made = render_paper(
        sources, numbers, out_folder(parsed), parsed.select, only, metrics, parsed.notes, parsed.siunitx
    )
    for rendering in made:
        print(f"{rendering.text}\n\n{rendering.where()}\n")
    tell_left_out(sources.left_out() if sources is not None else ())
    return ExitCode.SUCCESS
