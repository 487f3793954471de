"""The flags that say where cells run, and the launcher that they choose."""

from __future__ import annotations

import argparse
import re

from ablations.engine.launchers import Launcher
from ablations.engine.launchers.inline import InlineLauncher
from lightning_xvol.commandline import at_least
from lightning_xvol.errors import UserError

LAUNCHERS = ("inline", "local", "slurm")
# Flag, launcher; what it means elsewhere nobody can say.
_BELONGS_TO = {
    "jobs": "local",
    "cells_per_gpu": "local",
    "partition": "slurm",
    "cpus_per_cell": "slurm",
    "nodes_per_cell": "slurm",
    "time": "slurm",
    "array_parallelism": "slurm",
}
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


def add_launcher_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--launcher",
        choices=LAUNCHERS,
        help="here, a pool of processes, or an array of Slurm (default: local if --jobs > 1, else inline)",
    )
    parser.add_argument("--jobs", type=at_least(1, "jobs"), metavar="N", help="local: cells at a time (default: 1)")
    parser.add_argument(
        "--gpus-per-cell",
        type=at_least(1, "GPUs"),
        metavar="N",
        help="GPUs, and processes (DDP), of each cell: sets train.devices=N, which makes other cells of them",
    )
    parser.add_argument(
        "--cells-per-gpu", type=at_least(1, "cells"), metavar="N", help="local: cells that share a GPU (default: 1)"
    )
    slurm = parser.add_argument_group("Slurm (--launcher slurm)")
    slurm.add_argument("--partition", metavar="NAME", help="default: the cluster's")
    slurm.add_argument("--cpus-per-cell", type=at_least(1, "CPUs"), metavar="N", help="of each of its processes")
    slurm.add_argument("--nodes-per-cell", type=at_least(1, "nodes"), metavar="N", help="over which --gpus-per-cell go")
    slurm.add_argument(
        "--time",
        type=minutes,
        metavar="TIME",
        help="limit of one task, in Slurm's notation; a cell that needs longer is requeued (default: 60 minutes)",
    )
    slurm.add_argument("--array-parallelism", type=at_least(1, "tasks"), metavar="N", help="cells at a time")


def minutes(text: str) -> int:
    """An argparse type: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M` or `D-H:M:S`, as Slurm has them, in minutes."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} must be minutes, H:M:S or D-H:M:S")
    days, *parts = (int(value or 0) for value in match.groups())
    given = sum(value is not None for value in match.groups()[1:])
    if match["days"] is None and given < 3:  # minutes come first
        parts = [0, *parts[:2]]
    hours, mins, seconds = parts
    total = -(-((days * 24 + hours) * 3600 + mins * 60 + seconds) // 60)
    if total < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be at least one minute")
    return total


def choose_launcher(flags: argparse.Namespace, devices: int) -> Launcher:
    """The launcher that `flags` name, for cells of `devices` processes.

    Raises:
        UserError: for a flag of another launcher, or where what it needs is missing.
    """
    if flags.cell is not None:  # one cell here, whatever the flags say of a sweep
        return InlineLauncher()
    several = (flags.jobs or 1) > 1 or flags.cells_per_gpu or devices > 1
    name = flags.launcher or ("local" if several else "inline")
    for flag, launcher in _BELONGS_TO.items():
        value = getattr(flags, flag)
        if launcher != name and value is not None and (flag, value) != ("jobs", 1):
            raise UserError(
                f"--{flag.replace('_', '-')} {value} is a flag of --launcher {launcher}, "
                f"this command runs with --launcher {name}"
            )
    if name == "slurm":
        from ablations.engine.launchers.slurm import Resources, SlurmLauncher

        resources = Resources(
            partition=flags.partition,
            devices=devices,
            gpus=flags.gpus_per_cell or 0,
            cpus=flags.cpus_per_cell,
            nodes=flags.nodes_per_cell or 1,
            minutes=flags.time or 60,
            parallelism=flags.array_parallelism,
        )
        return SlurmLauncher(resources, wait=not flags.no_wait)
    if name == "local":
        from ablations.engine.launchers.gpus import Slots, list_gpus
        from ablations.engine.launchers.local import LocalLauncher

        slots = Slots(list_gpus(), flags.jobs or 1, devices, flags.cells_per_gpu or 1)
        return LocalLauncher(flags.jobs or 1, flags.wandb != "disabled", slots)
    if devices > 1:  # Lightning would start the further processes by repeating the command line: the whole sweep
        raise UserError(f"train.devices={devices}: --launcher inline runs cells of one process; take local or slurm")
    return InlineLauncher()
