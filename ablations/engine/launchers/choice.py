"""The launcher that the options choose."""

from __future__ import annotations

from ablations.engine.launchers import Launcher
from ablations.engine.launchers.inline import InlineLauncher
from ablations.engine.options import Options
from lightning_xvol.errors import UserError

# The launcher of each flag that has a meaning for one launcher only.
_BELONGS_TO = {
    "jobs": "local",
    "cells_per_gpu": "local",
    "partition": "slurm",
    "cpus_per_cell": "slurm",
    "nodes_per_cell": "slurm",
    "time": "slurm",
    "array_parallelism": "slurm",
}


def choose_launcher(options: Options, devices: int) -> Launcher:
    """The launcher that `options` name, for cells of `devices` processes.

    Raises:
        UserError: for a flag of another launcher, or where this machine lacks something that the launcher needs.
    """
    if options.cell is not None:  # one cell runs in this process, whatever the other flags say
        return InlineLauncher()
    several = (options.jobs or 1) > 1 or options.cells_per_gpu or devices > 1
    name = options.launcher or ("local" if several else "inline")
    for flag, launcher in _BELONGS_TO.items():
        value = getattr(options, flag)
        if launcher != name and value is not None and (flag, value) != ("jobs", 1):
            raise UserError(
                f"--{flag.replace('_', '-')} {value} is a flag of --launcher {launcher}, "
                f"but this command runs with --launcher {name}"
            )
    if name == "slurm":
        from ablations.engine.launchers.slurm import Resources, SlurmLauncher

        resources = Resources(
            partition=options.partition,
            devices=devices,
            gpus=options.gpus_per_cell or 0,
            cpus=options.cpus_per_cell,
            nodes=options.nodes_per_cell or 1,
            minutes=options.time or 60,
            parallelism=options.array_parallelism,
        )
        return SlurmLauncher(resources, wait=not options.no_wait)
    if name == "local":
        from ablations.engine.launchers.gpus import Slots, list_gpus
        from ablations.engine.launchers.local import LocalLauncher

        slots = Slots(list_gpus(), options.jobs or 1, devices, options.cells_per_gpu or 1)
        return LocalLauncher(options.jobs or 1, options.wandb != "disabled", slots)
    if devices > 1:  # Lightning would start the other processes by repeating the command line, the whole sweep
        raise UserError(f"train.devices={devices}: --launcher inline runs cells of one process; use local or slurm")
    return InlineLauncher()
