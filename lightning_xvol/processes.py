"""Processes that do not outlive the one that started them, and the several processes of one run (DDP)."""

from __future__ import annotations

import multiprocessing
import os
import threading

from lightning_xvol.errors import ExitCode


def rank() -> int:
    """Which of the processes of one run this is; 0 is the first, which holds the folder and writes."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def join_run(rank: int, local_rank: int, node: int, address: str, port: int) -> None:
    """Make this process the one of that rank in a run whose first process listens at `address` and `port`."""
    values = {"RANK": rank, "LOCAL_RANK": local_rank, "NODE_RANK": node, "MASTER_ADDR": address, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in values.items()}


def end_with_parent() -> None:
    """Let a thread end this process when the process that started it is gone, even by SIGKILL.

    The parent is the one that asked for this process, also where a fork server stands between the two: that server
    lives as long as one of its children, and they would keep each other alive for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(ExitCode.FAILURE)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
