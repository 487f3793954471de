"""`python -m analysis verify`: run sampled cells again on this machine and compare them with their records."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from analysis.commands.arguments import add_source, open_sources
from lightning_xvol.commandline import DATA_DIR_HELP, add_trust, at_least, duration
from lightning_xvol.errors import ExitCode, UserError


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "verify", help="run sampled cells again on this machine and compare them with their records",
        allow_abbrev=False,
    )  # fmt: skip
    add_source(parser, select=False)
    parser.add_argument(
        "--cells", type=at_least(1, "cells"), default=3, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=at_least(0, "seed"), default=0, metavar="N",
        help="chooses the cells, the same ones on every machine (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help=DATA_DIR_HELP)
    parser.add_argument("--download", action="store_true", help="let torchvision fetch missing data into --data-dir")
    add_trust(parser, "--source")


def run(parsed: argparse.Namespace) -> int:
    """Exit code 0 if every cell is bit-equal or within its interval, else 1."""
    sources = open_sources(parsed.source)
    from analysis.report import verify

    cells = verify.candidates(sources)
    if not cells:
        raise UserError("no finished cell to verify")
    chosen = verify.sample(cells, parsed.cells, parsed.seed)
    print(f"{len(chosen)} of {len(cells)} finished cells, chosen by seed {parsed.seed}", flush=True)
    checks = []
    for check in verify.verify(
        chosen, ", ".join(parsed.source), parsed.data_dir, download=parsed.download, trust=parsed.trust
    ):
        checks.append(check)
        print(check.text(), flush=True)
    for text in verify.differences(checks):
        print(f"note: {text}")
    verdicts = Counter(check.verdict if check.agrees else "other" for check in checks)
    listed = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    print(f"{listed}; {duration(sum(check.seconds for check in checks))}")
    return ExitCode.SUCCESS if all(check.agrees for check in checks) else ExitCode.FAILURE
