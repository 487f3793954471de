"""The command line of every sweep: `python -m ablations.<sweep>`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from ablations.engine.options import LAUNCHERS
from ablations.engine.runner import run
from ablations.engine.sweep import Sweep, recipes_for, text
from ablations.engine.sweep_file import read_arguments
from lightning_xvol.commandline import FIELDS, Parser, add_run_flags, add_trust, completes
from lightning_xvol.config import fast
from lightning_xvol.errors import run_command_line

EPILOG = "Run the same command again to resume: finished cells are not run again, interrupted ones go on."


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> None:
    """Run and exit: 0 all cells done, 1 a cell failed, 2 a mistake, 3 another process holds a cell (`--no-wait`)."""
    run_command_line(lambda: command(sweep, arguments))


def command(sweep: Sweep, arguments: Sequence[str] | None = None) -> int:
    """Run `sweep` as the arguments ask, and return the exit code."""
    return run(sweep, **read_arguments(make_parser(sweep), arguments)).exit_code


def make_parser(sweep: Sweep) -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"python -m ablations.{sweep.name}",
        description=f"{sweep.title} ({sweep.reproduces}). Axes: {', '.join(sweep.axes) or 'none'}. Rows: "
        f"{', '.join(sweep.rows)}.",
        epilog=EPILOG,
    )
    add_flags(parser, sweep.recipe, recipes_for(sweep))
    if sweep.readings:
        titles = "; ".join(f"{name}: {reading.title}" for name, reading in sweep.readings.items())
        parser.add_argument(
            "--reading", choices=sorted(sweep.readings), help=f"run another interpretation of the experiment; {titles}"
        )
    only = parser.add_argument(
        "--only", action="append", metavar="KEY=V1,V2",
        help="run only the cells with these values; KEY is operator, seed or an axis; repeatable",
    )  # fmt: skip
    keys = {"operator": sweep.rows, **sweep.axes, "seed": ()}
    completes(only, [f"{key}={text(value)}" for key, values in keys.items() for value in values or ("",)])
    parser.add_argument(
        "--cell",
        metavar="ID",
        help="run only the cell with this name, or whose id begins with ID, in this process; write no table",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        help="the seed of --cell; ID is then the name without its seed, or the beginning of the id of a group",
    )
    parser.add_argument(
        "--emit-wandb-sweep", nargs="?", const="", metavar="FILE",
        help="write a file for wandb sweep and stop; its agents then run these cells (default: in OUT/<sweep>)",
    )  # fmt: skip
    parser.add_argument(
        "--force", action="store_true", help="run the selected cells again; the old folders stay as <id>.old-N"
    )
    return parser


def add_flags(parser: argparse.ArgumentParser, recipe: str, recipes: Iterable[str]) -> None:
    """Add the flags of every sweep and of `ablations.all`. `recipe` is the default among `recipes`.

    `read_options` checks the values, whether they come from here, from a file or from Python.
    """
    parser.add_argument(
        "--config", type=Path, metavar="FILE",
        help="YAML file with any of these flags by name, such as seeds: 3; flags that you type replace its values",
    )  # fmt: skip
    add_trust(parser, "the file of --config, or a cell of the ledger (--cell),")
    recipes = tuple(recipes)
    completes(
        parser.add_argument(
            "--recipe", default=recipe, metavar="NAME", help=f"one of {', '.join(recipes)} (default: %(default)s)"
        ),
        recipes,
    )
    parser.add_argument("--seeds", metavar="N", help="run N seeds, from 0 on (default: as the recipe says)")
    parser.add_argument("--first-seed", metavar="N", help="begin with this seed, as for a pilot (default: 0)")
    add_run_flags(parser, "each cell")
    _add_launcher_flags(parser)
    fields = parser.add_argument(
        "--set", action="append", metavar="PATH=VALUE", dest="settings",
        help="set any field, for example optim.lr=0.05; ROW:optim.lr=0.05 sets it in one row; operator.name=NAME adds "
        "a row; repeatable",
    )  # fmt: skip
    completes(fields, FIELDS)
    parser.add_argument(
        "--protocol", metavar="FILE",
        help="the protocol of the experiment: each record holds its SHA-256, and cells that it does not plan are named",
    )  # fmt: skip
    parser.add_argument("--fast", action="store_true", help=fast.HELP)
    parser.add_argument("--dry-run", action="store_true", help="list the cells with their state and stop")
    parser.add_argument("--fail-fast", action="store_true", help="start no further cell after the first failure")
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait for cells that another process works on (exit code 3)"
    )


def _add_launcher_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that say where cells run."""
    parser.add_argument(
        "--launcher", choices=LAUNCHERS,
        help="in this process, in a pool of processes, or as a Slurm array (default: local if --jobs > 1, else inline)",
    )  # fmt: skip
    slurm = parser.add_argument_group("Slurm (--launcher slurm)")
    slurm.add_argument("--partition", metavar="NAME", help="partition (default: the cluster's)")
    slurm.add_argument(
        "--time", metavar="TIME",
        help="time limit of a task, in Slurm's notation; a cell that needs longer is requeued (default: 60 minutes)",
    )  # fmt: skip
    for group, flag, meaning in (
        (parser, "--jobs", "with --launcher local: cells that run at a time (default: 1)"),
        (
            parser,
            "--gpus-per-cell",
            "GPUs and processes (DDP) of each cell; sets train.devices=N, which changes the ids",
        ),
        (parser, "--cells-per-gpu", "with --launcher local: cells that share a GPU (default: 1)"),
        (slurm, "--cpus-per-cell", "CPUs of each process of a cell"),
        (slurm, "--nodes-per-cell", "nodes over which the GPUs of a cell are spread"),
        (slurm, "--array-parallelism", "cells that run at a time"),
    ):
        group.add_argument(flag, metavar="N", help=meaning)
