"""An array of Slurm, one task a cell.

submitit submits it and puts a task that runs into its time limit back into the queue; Slurm does so with one that is
preempted or whose node is lost. Neither is asked what is done: the ledger says that, and `squeue` what is still to
come. So this launcher may die: the tasks go on, and the next one finds them by `OUT/slurm/<cell id>.json`.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablations.engine.cell import Cost, Outcome, Settings, record_death, run_cell, state, write_to_log
from ablations.engine.launchers import Observer
from ablations.engine.launchers.inline import InlineLauncher
from ablations.engine.sweep import Cell
from lightning_xvol.errors import ExitCode, UserError, one_line
from lightning_xvol.ledger import files, record
from lightning_xvol.processes import join_run

LEDGER_SECONDS = 1
QUEUE_SECONDS = 10
REPORT_SECONDS = 5
# A cell gets as many time limits as it needs: one that gets no further in one is stopped by `_Task`.
TIME_LIMITS = 10_000
SIGNAL_SECONDS = 90
NO_ANSWER = "Slurm does not answer squeue; is its controller running?"


@dataclass(frozen=True)
class Resources:
    """What each cell asks Slurm for. `devices` processes, spread evenly over `nodes`; `cpus` is per process."""

    partition: str | None
    devices: int
    gpus: int
    cpus: int | None
    nodes: int
    minutes: int
    parallelism: int | None

    def parameters(self) -> dict[str, Any]:
        """In submitit's words."""
        parameters = {
            "partition": self.partition,
            "nodes": self.nodes,
            "ntasks_per_node": self.devices // self.nodes,
            "gpus_per_node": self.gpus // self.nodes or None,
            "cpus_per_task": self.cpus,
            "time": self.minutes,
            "array_parallelism": self.parallelism,
            "signal_delay_s": min(SIGNAL_SECONDS, self.minutes * 60 // 4),
            "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True},
            # One process that ends badly ends the others; srun does not take the CPUs over from sbatch.
            "srun_args": ["--kill-on-bad-exit=1", *([f"--cpus-per-task={self.cpus}"] if self.cpus else [])],
        }
        return {name: value for name, value in parameters.items() if value is not None}


class _Task:
    """What a task of the array runs, as often as Slurm starts it."""

    def __call__(self, cell: Cell, settings: Settings) -> None:
        rank = int(os.environ.get("SLURM_PROCID", "0"))
        if cell.config.train.devices > 1:
            # The node of the first task; the port is free unless another job of that node has the same one.
            address = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
            port = 10_000 + int(os.environ["SLURM_JOB_ID"]) % 20_000
            join_run(rank, int(os.environ["SLURM_LOCALID"]), int(os.environ["SLURM_NODEID"]), address, port)
        write_to_log(cell, settings)
        told = -float("inf")

        def report(step: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told > REPORT_SECONDS:
                told = time.monotonic()
                files.write_json(_progress_file(cell, settings), {"step": step, "total": total})

        before = _failures(cell, settings)
        try:
            outcome, detail = run_cell(cell, settings, report if rank == 0 else None)
        except UserError as error:  # of `checkpoint`, where the time limit comes before training has begun
            outcome, detail = "failed", one_line(error)
        if outcome == "failed" and rank == 0 and _failures(cell, settings) == before:
            record_death(cell, settings, detail)  # nothing else tells the command why
        print(f"{outcome} ({detail})", flush=True)
        if outcome in ("failed", "held"):
            sys.exit(ExitCode.FAILURE)  # so that the processes of one run end together

    def checkpoint(self, cell: Cell, settings: Settings) -> Any:
        """Called near the time limit; what it returns takes this task's place in the queue.

        Raises:
            UserError: where the next attempt would get no further, because nothing was saved.
        """
        from submitit.helpers import DelayedSubmission

        segments = files.read_json(cell.folder(settings.out) / "segments.json")
        current = segments[-1] if isinstance(segments, list) and segments else {"start_step": 0, "end_step": 0}
        if current["end_step"] == current["start_step"] and not record.read_result(cell.folder(settings.out)):
            raise UserError(
                f"the time limit came before the first checkpoint after step {current['start_step']}; "
                "give more --time or a smaller train.checkpoint_every"
            )
        return DelayedSubmission(self, cell, settings)


class SlurmLauncher:
    """Submits, and waits; without `wait` it only submits, and calls every cell held."""

    on_interrupt = "the array goes on; the same command finds it again, scancel ends it"

    def __init__(self, resources: Resources, wait: bool) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise UserError("--launcher slurm needs submitit, which is not installed here: pip install submitit")
        for tool in ("sbatch", "srun", "squeue"):
            if shutil.which(tool) is None:
                raise UserError(f"--launcher slurm needs Slurm, and there is no {tool} on this machine")
        if resources.devices % resources.nodes or resources.gpus % resources.nodes:
            raise UserError(
                f"--nodes-per-cell {resources.nodes} must divide the {resources.devices} processes (train.devices)"
            )
        self.resources, self.wait = resources, wait

    def preflight(self, cells: Sequence[Cell], settings: Settings) -> str | None:
        # Before anything is written, like every other mistake.
        return NO_ANSWER if _queue() is None else InlineLauncher().preflight(cells, settings)

    def trial(self, cells: Sequence[Cell], settings: Settings) -> dict[str, Cost]:
        """Nothing: cells run elsewhere."""
        return {}

    def run(
        self, cells: Sequence[Cell], settings: Settings, observer: Observer, keep_going: Callable[[], bool]
    ) -> None:
        if not cells:
            return
        tasks = _known_tasks(cells, settings, _queue())
        new = [cell for cell in cells if cell.id not in tasks and state(cell, settings.out) not in ("done", "diverged")]
        if tasks:
            print(f"{len(tasks)} cells are in Slurm's queue already", flush=True)
        if new:
            tasks |= self._submit(new, replace(settings, nodes=self.resources.nodes))
        watches = [_Watch(cell, settings, tasks.get(cell.id), observer) for cell in cells]
        if not self.wait:
            for watch in watches:
                watch.leave()
            return
        asked, queue = time.monotonic(), _queue()
        while watches := [watch for watch in watches if not watch.look(queue)]:
            time.sleep(LEDGER_SECONDS)
            if not keep_going():
                _cancel([watch.task for watch in watches if watch.task and not watch.started])
                watches = [watch for watch in watches if watch.started]
            if time.monotonic() - asked > QUEUE_SECONDS:
                asked, queue = time.monotonic(), _queue()

    def _submit(self, cells: Sequence[Cell], settings: Settings) -> dict[str, str]:
        """The task of each cell, from one array, noted down for the next launcher."""
        import submitit

        # Tasks unpickle what they find under the number of their job, which others can guess: a folder of its own.
        folder = tempfile.mkdtemp(prefix="array-", dir=files.make_folder(settings.out / "slurm").absolute())
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=TIME_LIMITS)
        executor.update_parameters(job_name=settings.sweep, **self.resources.parameters())
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints there what it raises
                jobs = executor.map_array(_Task(), cells, [settings] * len(cells))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            lines = [line for line in str(error).splitlines() if "error" in line.lower()] or str(error).splitlines()
            raise UserError(f"Slurm refuses the array: {lines[0].strip()}") from error
        for cell, job in zip(cells, jobs, strict=True):
            files.write_json(_task_file(cell, settings), {"task": job.job_id})
        array = jobs[0].job_id.partition("_")[0]
        print(f"{len(cells)} cells are Slurm's array {array}; it goes on without this command, until scancel {array}")
        sys.stdout.flush()
        return {cell.id: job.job_id for cell, job in zip(cells, jobs, strict=True)}

    def close(self) -> None:
        """The array goes on."""


class _Watch:
    """Tells the observer about one cell that Slurm runs."""

    def __init__(self, cell: Cell, settings: Settings, task: str | None, observer: Observer) -> None:
        self.cell, self.settings, self.task, self.observer = cell, settings, task, observer
        self.attempt = _failures(cell, settings)
        self.started = False
        self.gone_from: dict[str, str] | None = None

    def leave(self) -> None:
        self.observer.started(self.cell)
        self.observer.ended(self.cell, "held", f"in Slurm's queue as {self.task}")

    def look(self, queue: dict[str, str] | None) -> bool:
        """Whether the cell has ended. `queue` is None where Slurm does not answer."""
        done = state(self.cell, self.settings.out) in ("done", "diverged")
        if not self.started and (done or (queue or {}).get(self.task or "") == "RUNNING"):
            self._start()
        if self.started and not done:
            progress = files.read_json(_progress_file(self.cell, self.settings))
            if isinstance(progress, dict):
                self.observer.progressed(self.cell, progress["step"], progress["total"])
        if not done and not self._is_gone(queue):
            return False
        if not self.started:
            self._start()
        self.observer.ended(self.cell, *self._outcome())
        return True

    def _start(self) -> None:
        self.started = True
        self.observer.started(self.cell)

    def _is_gone(self, queue: dict[str, str] | None) -> bool:
        """Missing in two answers of the queue: a shared file system shows the last record some time after it."""
        if queue is None or self.task in queue:
            self.gone_from = None
            return False
        if self.gone_from is None:
            self.gone_from = queue
        return self.gone_from is not queue

    def _outcome(self) -> tuple[Outcome, str]:
        from lightning_xvol.ledger.locking import is_held

        folder = self.cell.folder(self.settings.out)
        if record.read_result(folder) is None:
            if is_held(folder):
                return "held", "another process works on it"
            if _failures(self.cell, self.settings) > self.attempt:
                return "failed", _failure(self.cell, self.settings)["error"]
        return record_death(self.cell, self.settings, f"Slurm's task {self.task} ended without a result")


def _task_file(cell: Cell, settings: Settings) -> Path:
    return settings.out / "slurm" / f"{cell.id}.json"


def _progress_file(cell: Cell, settings: Settings) -> Path:
    return settings.out / "slurm" / f"{cell.id}.progress.json"


def _failure(cell: Cell, settings: Settings) -> dict[str, Any]:
    """The last failed attempt, as it was recorded."""
    failure = files.read_json(cell.folder(settings.out) / "failure.json")
    return failure if isinstance(failure, dict) else {}


def _failures(cell: Cell, settings: Settings) -> int:
    return _failure(cell, settings).get("attempt", 0)


def _queue() -> dict[str, str] | None:
    """The state of every task of this user that Slurm has not ended, or None where Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i %T", f"--user={getpass.getuser()}"]
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return {task: where for task, _, where in (line.partition(" ") for line in answer.splitlines())}


def _known_tasks(cells: Sequence[Cell], settings: Settings, queue: dict[str, str] | None) -> dict[str, str]:
    """Of `cells` those that an earlier command has put into the queue.

    Raises:
        UserError: where Slurm does not answer.
    """
    if queue is None:
        raise UserError(NO_ANSWER)
    notes = {cell.id: files.read_json(_task_file(cell, settings)) for cell in cells}
    tasks = {cell: note.get("task") for cell, note in notes.items() if isinstance(note, dict)}
    return {cell: task for cell, task in tasks.items() if task in queue}


def _cancel(tasks: Sequence[str]) -> None:
    if tasks:
        subprocess.run(["scancel", *tasks], check=False, capture_output=True)
