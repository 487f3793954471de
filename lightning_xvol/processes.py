"""Processes that end with the process that started them, and the ranks of a run with several processes (DDP).

Only the suite gives a process its rank. Variables such as `RANK`, `MASTER_ADDR` or `SLURM_PROCID` that a shell still
holds from other work mean nothing here.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from lightning_xvol.errors import ExitCode, UserError

STARTED_BY = "LIGHTNING_XVOL_STARTED_BY"
"""Set for the helper processes that Lightning starts for a run: the number of the process that started them."""
VARIABLES = (
    "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
"""The variables by which Lightning and torch learn the place of a process in its run."""

_joined: dict[str, str] = {}


def rank() -> int:
    """The rank of this process in its run. Rank 0 holds the folder and writes."""
    if _joined:
        return int(_joined["RANK"])
    return int(os.environ.get("LOCAL_RANK", "0")) if _is_started_helper() else 0


def join_run(rank: int, local_rank: int, node: int, address: str, port: int) -> None:
    """Give this process its rank in a run whose first process listens at `address` and `port`."""
    values = {"RANK": rank, "LOCAL_RANK": local_rank, "NODE_RANK": node, "MASTER_ADDR": address, "MASTER_PORT": port}
    _joined.update({name: str(value) for name, value in values.items()})


def _is_started_helper() -> bool:
    """Whether Lightning started this process as a helper of a run, by repeating the command line."""
    return os.environ.get(STARTED_BY, str(os.getpid())) != str(os.getpid())


@contextlib.contextmanager
def own_variables() -> Iterator[None]:
    """For the time of a run, `VARIABLES` hold what the suite says, and nothing that a shell still holds.

    Lightning starts the helpers of this process meanwhile. They inherit its variables, so that they know their starter.
    Afterwards the variables are as before.
    """
    names = (STARTED_BY, *VARIABLES)
    before = {name: os.environ[name] for name in names if name in os.environ}
    if not _is_started_helper():
        for name in names:
            os.environ.pop(name, None)
        os.environ |= _joined or {STARTED_BY: str(os.getpid())}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ |= before


def refuse_several_tasks() -> None:
    """Refuse a command that a launcher from outside starts several times at once, as `srun -n 2` and `torchrun` do.

    Variables that a shell still holds are no such start. torchrun marks its processes. A task of srun has the process
    that `SLURM_TASK_PID` names among its ancestors, and an allocation without srun has no number of tasks of a step.
    An agent of W&B may be a task: each of its commands is a cell of its own.

    Raises:
        UserError: for such a command; it says how to give a cell several processes.
    """
    environ = os.environ
    if rank() or _is_started_helper() or _joined or "WANDB_SWEEP_ID" in environ:
        return
    tasks = {
        "torchrun": environ.get("WORLD_SIZE") if "TORCHELASTIC_RUN_ID" in environ else None,
        "srun": environ.get("SLURM_STEP_NUM_TASKS") if "SLURM_PROCID" in environ and _is_slurm_task() else None,
        "mpirun": environ.get("OMPI_COMM_WORLD_SIZE"),
    }
    for launcher, count in tasks.items():
        if count is not None and count.isdecimal() and int(count) > 1:
            raise UserError(
                f"{launcher} starts this command {count} times, and it must be started once: run it without "
                f"{launcher}, as python -m ablations.SWEEP --gpus-per-cell N --launcher local (or slurm), which starts "
                "the N processes of each cell itself"
            )


def _is_slurm_task() -> bool:
    """Whether the process that `SLURM_TASK_PID` names is this one or an ancestor; True where that cannot be known."""
    task = os.environ.get("SLURM_TASK_PID")
    if task is None:
        return True
    process = os.getpid()
    with contextlib.suppress(OSError, ValueError, IndexError):
        while process > 1:
            if str(process) == task:
                return True
            # The second field, the name of the program, may itself hold blanks and brackets.
            process = int(
                Path(f"/proc/{process}/stat").read_text("utf-8", errors="replace").rpartition(")")[2].split()[1]
            )
        return False
    return True


def end_with_parent() -> None:
    """Start a thread that ends this process when its parent is gone, even after SIGKILL.

    The parent is the process that asked for this one, even if a fork server created it. The fork server itself is no
    use here: it lives as long as any of its children, so they would keep each other alive for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(ExitCode.FAILURE)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
