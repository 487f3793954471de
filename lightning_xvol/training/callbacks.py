"""Callbacks and loggers of a run: its metric rows, checkpoints and progress."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers.logger import Logger

from lightning_xvol.commandline import Reached
from lightning_xvol.data.module import StepPlan
from lightning_xvol.ledger.checkpoints import checkpoint_path, prune
from lightning_xvol.ledger.files import open_text, write_by, write_json, write_text
from lightning_xvol.ledger.record import read_segments

Row = dict[str, Any]  # step, epoch, name, value
COLUMNS = ("step", "epoch", "name", "value")
Report = Callable[[Reached], None]

REPORT_SECONDS = 0.5
LOG_EVERY_STEPS = 10


class Diverged(Exception):
    """The loss or a parameter is no longer finite."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss or a parameter is not finite at step {step}")
        self.step = step


class RunLog(Logger):
    """Keeps every metric row in memory and appends it to `metrics.csv`.

    Checkpoints hold the rows too. A resumed run writes the file anew with the rows up to its checkpoint, so that no row
    that a killed process wrote later is in it twice. Without a path nothing is written, as in all processes of a run
    but the first.
    """

    def __init__(self, path: Path | None, plan: StepPlan, rows: list[Row]) -> None:
        super().__init__()
        self.path, self.plan = path, plan
        self.rows = list(rows)
        if path is not None:
            write_text(path, self._text(self.rows, header=True))

    @staticmethod
    def _text(rows: list[Row], header: bool = False) -> str:
        lines = [",".join(COLUMNS)] if header else []
        lines += [",".join(str(row[column]) for column in COLUMNS) for row in rows]
        return "".join(f"{line}\n" for line in lines)

    @property
    def name(self) -> str:
        return "run"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing, because `config.yaml` holds the configuration."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        done, epoch = self.plan.after(step)
        rows = [
            {"step": done, "epoch": epoch, "name": name, "value": float(value)}
            for name, value in metrics.items()
            if name != "epoch"
        ]
        self.rows += rows
        if self.path is not None:
            with open_text(self.path, "a") as file:
                file.write(self._text(rows))

    def series(self, name: str) -> list[tuple[int, float]]:
        """(epoch, value) of every row called `name`, in the order in which they were logged."""
        return [(row["epoch"], row["value"]) for row in self.rows if row["name"] == name]


def cpu_seconds() -> float:
    """CPU time of this process with its threads, and of its children that have ended."""
    return sum(os.times()[:4])


class Segments:
    """`segments.json`: for each process that worked on the run, its first and last step and its first checkpoint.

    `cpu_seconds` count the process and the loaders that have ended. Unlike the wall clock, they show the cost of a run
    on a machine that does other work too.
    """

    def __init__(self, path: Path | None, start_step: int, checkpoint: str | None) -> None:
        self.path = path
        self.earlier: list[dict[str, Any]] = [] if path is None else read_segments(path)
        self.started, self.cpu_started = time.monotonic(), cpu_seconds()
        self.current: dict[str, Any] = {"start_step": start_step, "end_step": start_step, "checkpoint": checkpoint}
        self.reached(start_step)

    def reached(self, step: int) -> None:
        self.current |= {
            "end_step": step,
            "wall_seconds": round(time.monotonic() - self.started, 3),
            "cpu_seconds": round(cpu_seconds() - self.cpu_started, 3),
        }
        if self.path is not None:
            write_json(self.path, self.all())

    def all(self) -> list[dict[str, Any]]:
        return [*self.earlier, self.current]


def begin_at(trainer: Trainer, plan: StepPlan, step: int) -> None:
    """Let `trainer` count its epochs and steps as if it had done `step` steps. Only these counters have to be set."""
    epoch, _ = plan.position(step)
    loop = trainer.fit_loop
    for name in ("ready", "started", "processed", "completed"):
        setattr(loop.epoch_progress.current, name, epoch)
    steps = loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    steps.ready = steps.completed = step
    loop.epoch_loop._batches_that_stepped = step


class Checkpointer(Callback):
    """Saves every `every` optimizer steps and at the end, and starts the trainer at the step of the checkpoint.

    A checkpoint at the end of an epoch is written after the validation of that epoch, so that a resumed run has no
    validation to repeat.
    """

    def __init__(
        self,
        folder: Path,
        plan: StepPlan,
        every: int,
        start_step: int,
        log: RunLog,
        segments: Segments,
        identity: Mapping[str, Any],
    ) -> None:
        self.folder, self.plan, self.every, self.start_step = folder, plan, every, start_step
        self.run_log, self.segments, self.identity = log, segments, dict(identity)
        self.saved = start_step

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The state of Lightning's loops is not restored (see lightning_xvol.ledger.checkpoints).
        begin_at(trainer, self.plan, self.start_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint.pop("loops", None)
        checkpoint["run"] = {**self.identity, "step": trainer.global_step, "rows": self.run_log.rows}

    def _save(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if step == self.saved or not (step % self.every == 0 or step == self.plan.total_steps):
            return
        # An update can break the weights although the loss before it was finite. All processes have the same weights.
        if not all(torch.isfinite(parameter).all() for parameter in trainer.lightning_module.parameters()):
            raise Diverged(step)
        trainer.save_checkpoint(checkpoint_path(self.folder, step))
        self.saved = step
        if trainer.is_global_zero:
            prune(self.folder, step)
            self.segments.reached(step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # At the end of the batch before, the checkpoint would lack its rows, because Lightning logs them later.
        self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)


class BestWeights(Callback):
    """Keeps the weights of the epoch with the best validation metric, for the final evaluation on the test split."""

    def __init__(self, path: Path, log: RunLog, metric: str) -> None:
        self.path, self.run_log, self.metric = path, log, metric

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = [value for _, value in self.run_log.series(self.metric)]
        if trainer.is_global_zero and values and values.index(max(values)) == len(values) - 1:
            write_by(self.path, lambda file: torch.save(pl_module.state_dict(), file))


class Watch(Callback):
    """Stops a run whose loss is no longer finite, and reports the progress of the run.

    `validated` is the metric of the task and the name under which a validation logs it.
    """

    def __init__(self, plan: StepPlan, report: Report | None, log: RunLog, validated: tuple[str, str]) -> None:
        self.plan, self.report, self.run_log = plan, report, log
        self.metric, self.logged = validated
        self.reported = 0.0
        self.first_step, self.started = 0, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.first_step, self.started = trainer.global_step, time.monotonic()
        self._tell(trainer.global_step, None)

    def _tell(self, step: int, loss: torch.Tensor | None) -> None:
        if self.report is None:
            return
        self.reported = now = time.monotonic()
        total, done = self.plan.total_steps, step - self.first_step
        left = (now - self.started) * (total - step) / done if done and step < total else None
        values = self.run_log.series(self.logged)
        self.report(
            Reached(
                step,
                total,
                None if loss is None else float(loss),
                values[-1][1] if values else None,
                self.metric,
                left,
            )
        )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        loss = outputs["loss"]
        # Reading the loss waits for an accelerator, so it is read only as often as it is logged anyway.
        look = loss.device.type == "cpu" or step % LOG_EVERY_STEPS == 0
        # Each of several processes sees its own loss, and all of them must stop.
        if look and not trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(loss))):
            raise Diverged(step)
        if time.monotonic() - self.reported > REPORT_SECONDS or step == self.plan.total_steps:
            self._tell(step, loss)

    def _check_evaluation(self, trainer: Trainer) -> None:
        # No check has seen the loss after the last update before this evaluation.
        if not all(torch.isfinite(value) for value in trainer.callback_metrics.values()):
            raise Diverged(trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_evaluation(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_evaluation(trainer)
