"""Processes that end with the process that started them, and the ranks of a run with several processes (DDP)."""

from __future__ import annotations

import multiprocessing
import os
import threading

from lightning_xvol.errors import ExitCode


def rank() -> int:
    """The rank of this process in its run. Rank 0 holds the folder and writes."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def join_run(rank: int, local_rank: int, node: int, address: str, port: int) -> None:
    """Give this process its rank in a run whose first process listens at `address` and `port`."""
    values = {"RANK": rank, "LOCAL_RANK": local_rank, "NODE_RANK": node, "MASTER_ADDR": address, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in values.items()}


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
