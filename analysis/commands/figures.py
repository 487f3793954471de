"""`python -m analysis figures`: draw a sweep's own figure, every run beside the means, and learning curves."""

from __future__ import annotations

import argparse
from typing import Any

from analysis.commands.arguments import (
    add_interval,
    add_look,
    add_out,
    add_shown,
    add_source,
    each_sweep,
    metrics_of,
    only_of,
    open_sources,
    out_folder,
)  # fmt: skip
from analysis.figures.style import read_size
from analysis.output.sweep import render_figures
from analysis.render import FIGURES
from lightning_xvol.errors import ExitCode


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "figures",
        help="draw figures of a sweep: its own, every run beside the means, learning curves",
        allow_abbrev=False,
    )
    add_source(parser)
    parser.add_argument("--sweep", metavar="NAME", help="the sweep to draw (default: each one)")
    parser.add_argument(
        "--figure", action="append", choices=FIGURES, metavar="NAME",
        help=f"one of {', '.join(FIGURES)}; repeatable (default: all that have runs)",
    )  # fmt: skip
    parser.add_argument(
        "--size", metavar="SIZE",
        help="WIDTHxHEIGHT in inches, such as 3.5x2.4; or column, page or slide: as wide as one column of a paper, as "
        "a page of it, or as a slide; file names then contain the size (default: column or page; this depends on the "
        "number of rows and values)",
    )  # fmt: skip
    add_look(parser)
    add_shown(parser)
    add_interval(parser)
    add_out(parser, "to DIR/NAME/")


def run(parsed: argparse.Namespace) -> int:
    only, metrics = only_of(parsed), metrics_of(parsed)
    if parsed.size is not None:
        read_size(parsed.size)
    sources = open_sources(parsed.source)
    out, wanted = out_folder(parsed), parsed.figure or FIGURES

    def act(name: str) -> str:
        rendering = render_figures(
            sources, name, out, wanted, parsed.size, parsed.select, parsed.interval, only, metrics, parsed.style,
            not parsed.no_caption,
        )  # fmt: skip
        return rendering.where() or f"{name}: no runs for {' or '.join(wanted)}"

    each_sweep(sources.sweeps(), parsed.sweep, act, sources.unfit())
    return ExitCode.SUCCESS
