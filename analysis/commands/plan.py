"""`python -m analysis plan`: how many seeds a sweep needs, from the spread of a pilot."""

from __future__ import annotations

import argparse
import math
from typing import Any

from analysis.commands.arguments import add_source, open_sources
from lightning_xvol.errors import ExitCode, UserError

POWER = 0.8


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "plan", help="print how many seeds find a difference, from the spread of a pilot", allow_abbrev=False
    )
    add_source(parser)
    parser.add_argument("--sweep", metavar="NAME", help="the sweep to plan (default: each one)")
    parser.add_argument(
        "--difference", type=float, required=True, metavar="POINTS", help="the difference to find, in points"
    )
    parser.add_argument(
        "--power", type=float, default=POWER, metavar="SHARE",
        help="the probability with which it is to be found (default: %(default)s)",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    if not 0 < parsed.difference < math.inf:
        raise UserError(f"--difference {parsed.difference:g} must be above 0, in points, for example 0.5")
    if not 0 < parsed.power < 1:
        raise UserError(f"--power {parsed.power:g} must be between 0 and 1, for example 0.8")
    sources = open_sources(parsed.source)
    from analysis.sweep.planning import plan, results_of

    names = sources.sweeps() if parsed.sweep is None else [parsed.sweep]
    print(plan(results_of(sources, names, parsed.select), parsed.difference, parsed.power))
    return ExitCode.SUCCESS
