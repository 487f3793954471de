"""`python -m analysis compare`: compare the same rows of a sweep under two or more settings, with the differences."""

from __future__ import annotations

import argparse
import re
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
)  # fmt: skip
from analysis.output.comparison import render_comparison
from analysis.render import load_comparison
from lightning_xvol.commandline import setting
from lightning_xvol.errors import ExitCode, UserError

EXAMPLES = (
    "Compare two ledgers: --source mine --source yours. Compare two settings in one ledger: --source runs --set "
    "optim.lr=0.1 --set optim.lr=0.05. Differences are to the first side that you name."
)


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "compare",
        help="compare runs that differ in their settings, such as two learning rates, row by row of a sweep",
        epilog=EXAMPLES,
        allow_abbrev=False,
    )
    add_source(parser, merged="without --set, each source is one side of the comparison; with --set, all are merged")
    parser.add_argument(
        "--set", action="append", nargs="+", default=[], type=setting, metavar="PATH=VALUE", dest="groups",
        help="one side of the comparison: the runs with these settings, for example --set optim.lr=0.1, or --set "
        "optim.lr=0.1 data.batch_size=32; give it once for each side; everything else must be equal",
    )  # fmt: skip
    parser.add_argument("--sweep", metavar="NAME", help="the sweep to compare (default: each one that all sides hold)")
    add_shown(parser)
    add_interval(parser)
    add_notes(parser)
    add_out(parser, "to DIR/compare/NAME/")


def run(parsed: argparse.Namespace) -> int:
    only, metrics = only_of(parsed), metrics_of(parsed)
    _check(parsed.source, parsed.groups)
    groups = [dict(group) for group in parsed.groups]
    sources = [open_sources(parsed.source)] if groups else [open_sources([name]) for name in parsed.source]
    names = _in_all(sources)
    out = out_folder(parsed)

    def act(name: str) -> str:
        compared = load_comparison(
            sources[0] if groups else sources, name, groups, parsed.select, parsed.interval, only, metrics
        )
        rendering = render_comparison(compared, out, parsed.notes, parsed.siunitx)
        return f"{rendering.text}\n\n{rendering.where()}\n"

    each_sweep(names, parsed.sweep, act, [fault for source in sources for fault in source.unfit()])
    return ExitCode.SUCCESS


def _check(source: list[str], groups: list[Any]) -> None:
    """Check that there are two sides or more, that `--set` names settings, and that a side has one value for a field.

    Raises:
        UserError: otherwise. A field that one side names twice may be meant as two sides.
    """
    if not source:
        open_sources(source)  # its error says what a source is
    for group in groups:
        paths = [path for path, _ in group]
        twice = [path for path in paths if paths.count(path) > 1]
        if twice:
            raise UserError(
                f"--set {' '.join(f'{path}={value}' for path, value in group)}: one side has {twice[0]} twice; give "
                "--set once for each side"
            )
    if len(groups) == 1:
        raise UserError("--set names one side; give it once for each side: --set optim.lr=0.1 --set optim.lr=0.05")
    if not groups and len(source) == 1:
        raise UserError(
            f"--source {source[0]!r} is one side; name a second --source, or settings of this one: "
            "--set optim.lr=0.1 --set optim.lr=0.05"
        )
    for path, value in (pair for group in groups for pair in group):
        if re.search(r",[\w.]+=", value):
            raise UserError(f"--set {path}={value}: a space separates the settings of one side, not a comma")


def _in_all(sources: list[Any]) -> list[str]:
    """The sweeps that all sources hold.

    Raises:
        UserError: where there is none.
    """
    held = [source.sweeps() for source in sources]
    shared = [name for name in held[0] if all(name in others for others in held)]
    if not shared:
        listed = "; ".join(f"{source.where} has {', '.join(own)}" for source, own in zip(sources, held, strict=True))
        raise UserError(f"no sweep is in all sources: {listed}")
    return shared
