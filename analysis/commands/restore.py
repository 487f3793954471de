"""`python -m analysis restore`: write the cells of archives into a ledger, so that a sweep does not run them again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from analysis.commands.arguments import open_sources, tell_left_out
from lightning_xvol.errors import ExitCode, UserError
from lightning_xvol.surroundings.printing import in_one_line

MOST_NAMED = 5


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "restore", help="write the cells of an archive into a ledger, so that a sweep does not run them again",
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "--source", action="append", default=[], metavar="FILE",
        help="an archive (.jsonl.gz); repeatable; if several archives hold a cell, the first one counts",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR",
        help="the ledger, which is the --out folder of sweeps; its existing folders stay as they are",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    """Restore the cells and say what is missing.

    Returns:
        0 if every finished cell and every sweep of the sources is in the ledger now, else 1. A damaged archive may have
        had more cells than can be read, so its code is 1 too.

    Raises:
        UserError: for a source that is no archive, or a folder that cannot be written to.
    """
    from analysis.sources.archive import is_archive

    for name in parsed.source:
        if not is_archive(name):
            raise UserError(f"--source {name!r} is no archive (.jsonl.gz); `python -m analysis archive` writes one")
    sources = open_sources(parsed.source)
    if not sources.plans() and not sources.unfit():
        raise UserError(
            f"no finished cell can be read in {', '.join(map(repr, parsed.source))}, so nothing is restored"
        )
    from analysis.sources.restore import restore

    done = restore(sources, parsed.out)
    print(f"restore: {parsed.out}, {len(done.cells)} new cells, {len(done.kept_cells)} existing cells")
    if done.cells and done.kept_sweeps:
        print(
            f"note: {', '.join(done.kept_sweeps)}: the folder of the sweep stays as it is; run the command of the "
            "sweep to add the new cells to its table"
        )
    if done.cells:
        print(
            "note: an archive holds no checkpoints and no predictions of single images; for a command that needs them, "
            "run the cell again with --force"
        )
    for text in done.refused[:MOST_NAMED]:
        print(f"note: {in_one_line(text)}", file=sys.stderr)
    if len(done.refused) > MOST_NAMED:
        print(f"note: {len(done.refused) - MOST_NAMED} more are left out", file=sys.stderr)
    unfit = [UserError(text) for text in sources.unfit()]
    tell_left_out(unfit)
    return ExitCode.FAILURE if done.refused or unfit or sources.losses else ExitCode.SUCCESS
