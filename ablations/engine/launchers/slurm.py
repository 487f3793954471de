"""An array of Slurm, one task for each cell.

submitit submits the array. It puts a task that reaches its time limit back into the queue. Slurm does so with a task
that is preempted or whose node is lost. The ledger decides which cells are done, and `squeue` tells which tasks are
left. So this launcher may die: the tasks go on, and the next launcher finds them by `OUT/slurm/<cell id>.json`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ablations.engine.cell import Begun, Cost, Outcome, SweepContext, has_result, record_death, run_cell, write_to_log
from ablations.engine.launchers import Observer
from ablations.engine.launchers.inline import InlineLauncher
from ablations.engine.sweep import Cell
from lightning_xvol.commandline import Reached
from lightning_xvol.errors import ExitCode, UserError, one_line
from lightning_xvol.ledger import files, record
from lightning_xvol.processes import join_run
from lightning_xvol.surroundings import streams
from lightning_xvol.surroundings.programs import output_of, run_program

LEDGER_SECONDS = 1
QUEUE_SECONDS = 10
REPORT_SECONDS = 5
# A cell gets as many time limits as it needs. `_Task` stops a cell that gets no further within one.
TIME_LIMITS = 10_000
SIGNAL_SECONDS = 90
NO_ANSWER = "Slurm does not answer squeue; is its controller running?"


@dataclass(frozen=True)
class Resources:
    """What each cell asks Slurm for.

    Attributes:
        partition: The partition, or None for the cluster's default.
        devices: The number of processes.
        gpus: The number of GPUs.
        cpus: The number of CPUs of each process, or None for the cluster's default.
        nodes: The number of nodes that processes and GPUs are spread over evenly.
        minutes: The time limit of a task.
        parallelism: The number of tasks that run at a time, or None for no limit.
    """

    partition: str | None
    devices: int
    gpus: int
    cpus: int | None
    nodes: int
    minutes: int
    parallelism: int | None

    def parameters(self) -> dict[str, Any]:
        """These resources as parameters of submitit."""
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
            # A process that fails ends the others. srun does not take the number of CPUs over from sbatch.
            "srun_args": ["--kill-on-bad-exit=1", *([f"--cpus-per-task={self.cpus}"] if self.cpus else [])],
        }
        return {name: value for name, value in parameters.items() if value is not None}


class _Task:
    """The work of a task of the array, each time that Slurm starts it."""

    def __call__(self, cell: Cell, context: SweepContext) -> None:
        rank = int(os.environ.get("SLURM_PROCID", "0"))
        if cell.config.train.devices > 1:
            # The address is the first task's node. The port is free unless another job of that node has it too.
            address = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
            port = 10_000 + int(os.environ["SLURM_JOB_ID"]) % 20_000
            join_run(rank, int(os.environ["SLURM_LOCALID"]), int(os.environ["SLURM_NODEID"]), address, port)
        write_to_log(cell, context)
        told = -float("inf")

        def report(reached: Reached) -> None:
            nonlocal told
            if time.monotonic() - told > REPORT_SECONDS:
                told = time.monotonic()
                files.write_json(_progress_file(cell, context), reached._asdict())

        before = _failures(cell, context)
        try:
            outcome, detail = run_cell(cell, context, report if rank == 0 else None)
        except UserError as error:  # `checkpoint` raises it, where the time limit comes before training has begun
            outcome, detail = "failed", one_line(error)
        if outcome == "failed" and rank == 0 and _failures(cell, context) == before:
            record_death(cell, context, detail)  # nothing else tells the command why
        print(f"{outcome} ({detail})", flush=True)
        if outcome in ("failed", "held"):
            sys.exit(ExitCode.FAILURE)  # so that the processes of one run end together

    def checkpoint(self, cell: Cell, context: SweepContext) -> Any:
        """Called by submitit near the time limit. Returns the task that goes back into the queue.

        Raises:
            UserError: where the next attempt would get no further, because nothing was saved.
        """
        from submitit.helpers import DelayedSubmission

        segments = record.read_segments(cell.folder(context.out) / "segments.json")
        current = segments[-1] if segments else {"start_step": 0, "end_step": 0}
        if current["end_step"] == current["start_step"] and not record.read_result(cell.folder(context.out)):
            raise UserError(
                f"the time limit came before the first checkpoint after step {current['start_step']}; "
                "give more --time or a smaller train.checkpoint_every"
            )
        return DelayedSubmission(self, cell, context)


class SlurmLauncher:
    """Submits the array and waits for it. Without `wait` it only submits, and reports every cell as held."""

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

    def preflight(self, cells: Sequence[Cell], context: SweepContext, begun: Sequence[Begun] = ()) -> str | None:
        # This fails before anything is written, like every other mistake.
        return NO_ANSWER if _queue() is None else InlineLauncher().preflight(cells, context, begun)

    def trial(self, cells: Sequence[Cell], context: SweepContext) -> dict[str, Cost]:
        """Return no costs, because cells run on other machines."""
        return {}

    def run(
        self, cells: Sequence[Cell], context: SweepContext, observer: Observer, keep_going: Callable[[], bool]
    ) -> None:
        if not cells:
            return
        tasks = _known_tasks(cells, context, _queue())
        new = [cell for cell in cells if cell.id not in tasks and not has_result(cell, context.out)]
        if tasks:
            print(f"{len(tasks)} cells are in Slurm's queue already", flush=True)
        if new:
            tasks |= self._submit(new, replace(context, nodes=self.resources.nodes))
        watches = [_Watch(cell, context, tasks.get(cell.id), observer) for cell in cells]
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

    def _submit(self, cells: Sequence[Cell], context: SweepContext) -> dict[str, str]:
        """Submit one array. Returns the task of each cell, which is also written down for the next launcher."""
        import submitit

        # Tasks unpickle what lies under the number of their job, which others can guess: each array has a new folder.
        folder = tempfile.mkdtemp(prefix="array-", dir=files.make_folder(context.out / "slurm").absolute())
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=TIME_LIMITS)
        executor.update_parameters(job_name=context.sweep, **self.resources.parameters())
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # submitit prints its error before it raises it
                jobs = executor.map_array(_Task(), cells, [context] * len(cells))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            lines = [line for line in str(error).splitlines() if "error" in line.lower()] or str(error).splitlines()
            raise UserError(f"Slurm refuses the array: {lines[0].strip()}") from error
        for cell, job in zip(cells, jobs, strict=True):
            files.write_json(_task_file(cell, context), {"task": job.job_id})
        array = jobs[0].job_id.partition("_")[0]
        print(
            f"{len(cells)} cells are in Slurm's array {array}; it goes on without this command, "
            f"and scancel {array} stops it"
        )
        streams.flush()
        return {cell.id: job.job_id for cell, job in zip(cells, jobs, strict=True)}

    def close(self) -> None:
        """Do nothing: the array goes on without this launcher."""


class _Watch:
    """Watches one cell that Slurm runs, and tells the observer."""

    def __init__(self, cell: Cell, context: SweepContext, task: str | None, observer: Observer) -> None:
        self.cell, self.context, self.task, self.observer = cell, context, task, observer
        self.attempt = _failures(cell, context)
        self.started = False
        self.gone_from: dict[str, str] | None = None

    def leave(self) -> None:
        self.observer.started(self.cell)
        self.observer.ended(self.cell, "held", f"in Slurm's queue as {self.task}")

    def look(self, queue: dict[str, str] | None) -> bool:
        """Whether the cell has ended. `queue` is None where Slurm does not answer."""
        done = has_result(self.cell, self.context.out)
        if not self.started and (done or (queue or {}).get(self.task or "") == "RUNNING"):
            self._start()
        if self.started and not done:
            progress = files.read_json(_progress_file(self.cell, self.context))
            if isinstance(progress, dict):
                known = {name: progress[name] for name in Reached._fields if name in progress}
                self.observer.progressed(self.cell, Reached(**known))
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
        """Whether two answers of the queue lack the task. A shared file system may show its record only later."""
        if queue is None or self.task in queue:
            self.gone_from = None
            return False
        if self.gone_from is None:
            self.gone_from = queue
        return self.gone_from is not queue

    def _outcome(self) -> tuple[Outcome, str]:
        from lightning_xvol.ledger.locking import is_held

        folder = self.cell.folder(self.context.out)
        if record.read_result(folder) is None:
            if is_held(folder):
                return "held", "another process works on it"
            if _failures(self.cell, self.context) > self.attempt:
                return "failed", record.read_failure(folder)["error"]
        return record_death(self.cell, self.context, f"Slurm's task {self.task} ended without a result")


def _task_file(cell: Cell, context: SweepContext) -> Path:
    return context.out / "slurm" / f"{cell.id}.json"


def _progress_file(cell: Cell, context: SweepContext) -> Path:
    return context.out / "slurm" / f"{cell.id}.progress.json"


def _failures(cell: Cell, context: SweepContext) -> int:
    return int(record.read_failure(cell.folder(context.out)).get("attempt", 0))


def _queue() -> dict[str, str] | None:
    """The state of every task of this user that Slurm has not ended, or None where Slurm does not answer."""
    # By number, because a user without an entry in the system's list has no name.
    answer = output_of(["squeue", "--noheader", "--array", "--format=%i %T", f"--user={os.getuid()}"], timeout=60)
    if answer is None:
        return None
    return {task: where for task, _, where in (line.partition(" ") for line in answer.splitlines())}


def _known_tasks(cells: Sequence[Cell], context: SweepContext, queue: dict[str, str] | None) -> dict[str, str]:
    """The tasks that an earlier command has put into the queue, by cell.

    Raises:
        UserError: where Slurm does not answer.
    """
    if queue is None:
        raise UserError(NO_ANSWER)
    notes = {cell.id: files.read_json(_task_file(cell, context)) for cell in cells}
    tasks = {cell: note.get("task") for cell, note in notes.items() if isinstance(note, dict)}
    return {cell: task for cell, task in tasks.items() if task in queue}


def _cancel(tasks: Sequence[str]) -> None:
    if tasks:
        run_program(["scancel", *tasks])
