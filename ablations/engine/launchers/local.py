"""A pool of processes on this machine: one process for each cell, or one for each device of a cell (DDP).

Processes are forked from a server that has imported what training needs and computed nothing (Python's forkserver). So
no cell waits for the import, and no cell sees the state of another. The processes end with the launcher, however it
ends. Where there are GPUs, each cell gets its own. Neither this process nor the server makes a CUDA call.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from ablations.engine.cell import (
    Begun,
    Cost,
    Outcome,
    SweepContext,
    preflight,
    record_death,
    run_cell,
    trial,
    write_to_log,
)
from ablations.engine.launchers import RUN_AGAIN, Observer
from ablations.engine.launchers.gpus import Slots
from ablations.engine.sweep import Cell
from lightning_xvol.config import registry
from lightning_xvol.errors import ExitCode, UserError, one_line
from lightning_xvol.processes import end_with_parent, join_run
from lightning_xvol.surroundings import signals

_NETWORKS = {
    entry.path.partition(":")[0] for kind in ("operator", "backbone") for entry in registry.KINDS[kind].values()
}
PRELOAD = ["lightning_xvol.training.run", "ablations.engine.launchers.local", *sorted(_NETWORKS)]
# wandb.init imports wandb.sdk.launch lazily, in every process.
PRELOAD_TRACKED = ["wandb", "wandb.sdk.launch", "pytorch_lightning.loggers.wandb"]

# Time for the first process of a cell to notice and record that another process of the cell has died.
NOTICE_SECONDS = 10


@dataclass
class _Worker:
    """The processes of one cell, by rank. The first one reports."""

    cell: Cell
    context: SweepContext
    processes: list[ForkServerProcess]
    connection: Connection
    gpus: list[str]
    outcome: tuple[Outcome, str] | None = None
    deadline: float | None = None

    def helpers(self) -> list[ForkServerProcess]:
        """The other processes that are alive; none once one of them has died."""
        return [] if self.deadline is not None else [process for process in self.processes[1:] if process.is_alive()]

    def look_after_helpers(self) -> None:
        """End the first process some time after another one has died. It would wait for that one for ever."""
        if self.deadline is None and any(process.exitcode for process in self.processes[1:]):
            self.deadline = time.monotonic() + NOTICE_SECONDS
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.processes[0].kill()

    def end(self) -> None:
        self.processes[0].join()
        for process in self.processes[1:]:
            process.kill()
            process.join()


class LocalLauncher:
    """Runs `jobs` cells at a time."""

    on_interrupt = RUN_AGAIN

    def __init__(self, jobs: int, tracked: bool, slots: Slots) -> None:
        self.jobs, self.slots = jobs, slots
        self.forkserver: ForkServerContext = multiprocessing.get_context("forkserver")
        self.forkserver.set_forkserver_preload(PRELOAD + PRELOAD_TRACKED * tracked)
        self.workers: list[_Worker] = []

    def preflight(self, cells: Sequence[Cell], context: SweepContext, begun: Sequence[Begun] = ()) -> str | None:
        configs = list({cell.group: cell.config for cell in cells}.values())
        try:
            return self._ask(_check, configs, context, begun)
        except ChildProcessError as error:
            return f"the check of the configurations died: {error}"

    def trial(self, cells: Sequence[Cell], context: SweepContext) -> dict[str, Cost]:
        """As `Launcher.trial`, in one process, while no cell of this launcher runs. Empty if the trial fails."""
        try:
            return self._ask(_try, cells, context)
        except ChildProcessError:
            return {}

    def _ask(self, target: Callable[..., None], *arguments: Any) -> Any:
        """The answer that `target` sends from a process of its own.

        Raises:
            ChildProcessError: where the process ends without an answer.
        """
        receive, send = self.forkserver.Pipe(duplex=False)
        process = self.forkserver.Process(target=target, args=(*arguments, send), daemon=False)
        _start([process])
        send.close()
        try:
            return receive.recv()
        except EOFError:
            process.join()
            raise ChildProcessError(_death(process.exitcode)) from None
        except BaseException:  # Ctrl-C, SIGTERM
            process.kill()
            raise
        finally:
            process.join()

    def run(
        self, cells: Sequence[Cell], context: SweepContext, observer: Observer, keep_going: Callable[[], bool]
    ) -> None:
        waiting = list(cells)
        while waiting or self.workers:
            while waiting and len(self.workers) < self.jobs and keep_going():
                cell = waiting.pop(0)
                self.workers.append(self._start(cell, context))
                observer.started(cell)
            if not self.workers:
                return
            self._listen(observer)

    def _start(self, cell: Cell, context: SweepContext) -> _Worker:
        receive, send = self.forkserver.Pipe(duplex=False)
        devices = cell.config.train.devices
        gpus = self.slots.take(devices)
        port = _free_port() if devices > 1 else 0
        processes = [
            self.forkserver.Process(target=_work, args=(cell, context, send if rank == 0 else None, rank, gpus, port))
            for rank in range(devices)
        ]
        _start(processes)
        send.close()  # so that the worker's end of the pipe closes with the worker
        return _Worker(cell, context, processes, receive, gpus)

    def _listen(self, observer: Observer) -> None:
        helpers = [process.sentinel for worker in self.workers for process in worker.helpers()]
        broken = any(worker.deadline is not None for worker in self.workers)
        ready = wait([*(worker.connection for worker in self.workers), *helpers], timeout=1 if broken else None)
        for worker in self.workers:
            worker.look_after_helpers()
        for worker in [worker for worker in self.workers if worker.connection in ready]:
            try:
                kind, *values = worker.connection.recv()
            except (EOFError, OSError):
                worker.end()
                self.workers.remove(worker)
                self.slots.give_back(worker.gpus)
                observer.ended(worker.cell, *(worker.outcome or _died(worker)))
                continue
            if kind == "step":
                observer.progressed(worker.cell, *values)
            else:
                worker.outcome = values[0], values[1]

    def close(self) -> None:
        """End the processes that still run. The same command goes on from their checkpoints."""
        for worker in self.workers:
            for process in worker.processes:
                process.kill()
        for worker in self.workers:
            worker.end()
        self.workers.clear()


def _start(processes: Sequence[ForkServerProcess]) -> None:
    _start_server()
    with _main_hidden():
        for process in processes:
            process.start()


def _start_server() -> None:
    """Start the server, unless it runs. It blocks SIGINT from its start on, so that Ctrl-C ends only the launcher."""
    resource_tracker.ensure_running()  # first, because it unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Hide the main module from multiprocessing, which would import it again in every process.

    A script that calls `run` would start the sweep anew there. No process needs anything of the main module.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _died(worker: _Worker) -> tuple[Outcome, str]:
    return record_death(worker.cell, worker.context, _death(worker.processes[0].exitcode))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _death(code: int | None) -> str:
    """How a process ended. If it was by a SIGTERM to all processes of the command, `Terminated` is raised instead."""
    if code == signals.TERMINATED:
        code = -signal.SIGTERM
    if code == -signal.SIGTERM:
        signals.await_own()
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"its process was killed by {signal.Signals(-code).name}"
    return f"its process ended with code {code} and no result"


def _check(configs: list, context: SweepContext, begun: Sequence[Begun], connection: Connection) -> None:
    _end_with_launcher()
    try:
        preflight(configs, context, begun)
    except UserError as error:
        connection.send(str(error))
    else:
        connection.send(None)


def _try(cells: Sequence[Cell], context: SweepContext, connection: Connection) -> None:
    _end_with_launcher()
    connection.send(trial(cells, context.data_dir, context.download))


def _work(
    cell: Cell, context: SweepContext, connection: Connection | None, rank: int, gpus: Sequence[str], port: int
) -> None:
    _end_with_launcher()
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if port:
        join_run(rank, rank, 0, "127.0.0.1", port)

    def tell(*message: object) -> None:
        try:
            if connection is not None:
                connection.send(message)
        except OSError:
            os._exit(ExitCode.FAILURE)  # the launcher is gone, and this process with it

    try:
        write_to_log(cell, context)
        outcome, detail = run_cell(cell, context, lambda reached: tell("step", reached))
    except OSError as error:  # the log, on a full disk
        outcome, detail = "failed", one_line(error)
    tell("outcome", outcome, detail)
    if connection is None and outcome == "failed":
        sys.exit(ExitCode.FAILURE)


def _end_with_launcher() -> None:
    """Leave Ctrl-C to the launcher, which ends its processes, and end with the launcher however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals.listen(interrupts=False)
    end_with_parent()
