"""A pool of processes on this machine, one process a cell.

Processes are forked from a server that has imported what training needs and computed nothing (Python's
forkserver), so that a cell does not pay for the import and no cell sees another's state. They end with the
launcher, however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from ablations.cell import Cost, Outcome, Settings, preflight, record_death, run_cell, trial
from ablations.launchers import Observer
from ablations.sweep import Cell
from lightning_xvol import registry
from lightning_xvol.errors import UserError
from lightning_xvol.files import make_folder
from lightning_xvol.processes import end_with_parent

_NETWORKS = {
    entry.path.partition(":")[0] for kind in ("operator", "backbone") for entry in registry.KINDS[kind].values()
}
PRELOAD = ["lightning_xvol.training", "ablations.launchers.local", *sorted(_NETWORKS)]
# wandb.init imports the second one lazily, in every process.
PRELOAD_TRACKED = ["wandb", "wandb.sdk.launch", "pytorch_lightning.loggers.wandb"]


@dataclass
class _Worker:
    cell: Cell
    settings: Settings
    process: ForkServerProcess
    connection: Connection
    outcome: tuple[Outcome, str] | None = None


class LocalLauncher:
    def __init__(self, jobs: int, tracked: bool) -> None:
        self.jobs = jobs
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOAD + PRELOAD_TRACKED * tracked)
        self.workers: list[_Worker] = []

    def preflight(self, cells: Sequence[Cell], settings: Settings) -> str | None:
        configs = list({cell.group: cell.config for cell in cells}.values())
        try:
            return self._ask(_check, configs, settings)
        except ChildProcessError as error:
            return f"the check of the configurations died: {error}"

    def trial(self, cells: Sequence[Cell], settings: Settings) -> dict[str, Cost]:
        """In one process, while nothing else of this launcher runs; a trial that fails tells nothing."""
        try:
            return self._ask(_try, cells, settings)
        except ChildProcessError:
            return {}

    def _ask(self, target: Callable[..., None], *arguments: Any) -> Any:
        """What `target` sends from a process of its own.

        Raises:
            ChildProcessError: where the process ends without an answer.
        """
        receive, send = self.context.Pipe(duplex=False)
        _start_server()
        process = self.context.Process(target=target, args=(*arguments, send), daemon=False)
        process.start()
        send.close()
        try:
            return receive.recv()
        except EOFError:
            process.join()
            raise ChildProcessError(_death(process.exitcode)) from None
        except KeyboardInterrupt:
            process.kill()
            raise
        finally:
            process.join()

    def run(
        self, cells: Sequence[Cell], settings: Settings, observer: Observer, keep_going: Callable[[], bool]
    ) -> None:
        waiting = list(cells)
        while waiting or self.workers:
            while waiting and len(self.workers) < self.jobs and keep_going():
                cell = waiting.pop(0)
                self.workers.append(self._start(cell, settings))
                observer.started(cell)
            if not self.workers:
                return
            self._listen(observer)

    def _start(self, cell: Cell, settings: Settings) -> _Worker:
        receive, send = self.context.Pipe(duplex=False)
        _start_server()
        process = self.context.Process(target=_work, args=(cell, settings, send))
        process.start()
        send.close()  # so that the worker's end of the pipe closes with the worker
        return _Worker(cell, settings, process, receive)

    def _listen(self, observer: Observer) -> None:
        ready = wait([worker.connection for worker in self.workers])
        for worker in [worker for worker in self.workers if worker.connection in ready]:
            try:
                kind, *values = worker.connection.recv()
            except (EOFError, OSError):
                worker.process.join()
                self.workers.remove(worker)
                observer.ended(worker.cell, *(worker.outcome or _died(worker)))
                continue
            if kind == "step":
                observer.progressed(worker.cell, *values)
            else:
                worker.outcome = values[0], values[1]

    def close(self) -> None:
        """End what still runs. Nothing is lost: the same command goes on from the checkpoints."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()
        self.workers.clear()


def _start_server() -> None:
    """Start the server, unless it runs, with SIGINT blocked: Ctrl-C is the launcher's, during its imports too."""
    resource_tracker.ensure_running()  # first, because it unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _died(worker: _Worker) -> tuple[Outcome, str]:
    return record_death(worker.cell, worker.settings, _death(worker.process.exitcode))


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with code {code} and no result"


def _check(configs: list, settings: Settings, connection: Connection) -> None:
    _end_with_launcher()
    try:
        preflight(configs, settings.data_dir, settings.download)
    except UserError as error:
        connection.send(str(error))
    else:
        connection.send(None)


def _try(cells: Sequence[Cell], settings: Settings, connection: Connection) -> None:
    _end_with_launcher()
    connection.send(trial(cells, settings.data_dir, settings.download))


def _work(cell: Cell, settings: Settings, connection: Connection) -> None:
    _end_with_launcher()
    folder = make_folder(cell.folder(settings.out))
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {cell.name}", flush=True)

    def tell(*message: object) -> None:
        try:
            connection.send(message)
        except OSError:
            os._exit(1)  # the launcher is gone, and this process with it

    outcome, detail = run_cell(cell, settings, lambda step, total: tell("step", step, total))
    tell("outcome", outcome, detail)


def _end_with_launcher() -> None:
    """Leave Ctrl-C to the launcher, which ends its processes; and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
