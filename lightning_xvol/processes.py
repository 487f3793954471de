"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading


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
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()
