"""What accompanies a run: its metric rows, its checkpoints, its progress."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers.logger import Logger

from lightning_xvol.data.module import StepPlan
from lightning_xvol.ledger.checkpoints import checkpoint_path, prune
from lightning_xvol.ledger.files import read_json, write_by, write_json, write_text

Row = dict[str, Any]  # step, epoch, name, value
COLUMNS = ("step", "epoch", "name", "value")
Report = Callable[[int, int], None]  # (step, total steps)

REPORT_SECONDS = 0.5
LOG_EVERY_STEPS = 10


class Diverged(Exception):
    """The loss, or a parameter, is no longer finite."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss or a parameter is not finite at step {step}")
        self.step = step


class RunLog(Logger):
    """Keeps every metric row in memory and appends it to `metrics.csv`.

    The rows travel in the checkpoint: a resumed run writes the file anew with the rows up to its checkpoint, so
    that what a killed process wrote after it is not there twice. Without a path, as beside the first of several
    processes, nothing is written.
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
        """The configuration is in config.yaml."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # Lightning counts batches from 0: a row belongs to the number of steps done.
        done = 0 if step is None else min(step + 1, self.plan.total_steps)
        epoch = math.ceil(done / self.plan.steps_per_epoch)
        rows = [
            {"step": done, "epoch": epoch, "name": name, "value": float(value)}
            for name, value in metrics.items()
            if name != "epoch"
        ]
        self.rows += rows
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(self._text(rows))

    def series(self, name: str) -> list[tuple[int, float]]:
        """(epoch, value) of every row called `name`, in the order they were logged."""
        return [(row["epoch"], row["value"]) for row in self.rows if row["name"] == name]


def cpu_seconds() -> float:
    """Of this process, its threads, and its children that have ended."""
    return sum(os.times()[:4])


class Segments:
    """`segments.json`: which process took the run from which step to which, and from what checkpoint it started.

    `cpu_seconds` are those of the process and of the loaders that it has waited for: unlike the wall clock they say
    what the run costs on a machine that has other work to do.
    """

    def __init__(self, path: Path | None, start_step: int, checkpoint: str | None) -> None:
        before = None if path is None else read_json(path)
        self.path = path
        self.earlier: list[dict[str, Any]] = before if isinstance(before, list) else []
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


class Checkpointer(Callback):
    """Saves every `every` optimizer steps and at the end, and starts the trainer where the run left off.

    A checkpoint at the end of an epoch is written after that epoch's validation, so that no resumed run has to
    catch one up.
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
        # Lightning's own loop state is not restored (see lightning_xvol.ledger.checkpoints): these counters are all
        # that is needed.
        epoch, _ = self.plan.position(self.start_step)
        loop = trainer.fit_loop
        for name in ("ready", "started", "processed", "completed"):
            setattr(loop.epoch_progress.current, name, epoch)
        steps = loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
        steps.ready = steps.completed = self.start_step
        loop.epoch_loop._batches_that_stepped = self.start_step

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint.pop("loops", None)
        checkpoint["run"] = {**self.identity, "step": trainer.global_step, "rows": self.run_log.rows}

    def _save(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if step == self.saved or not (step % self.every == 0 or step == self.plan.total_steps):
            return
        # An update may break what the loss before it does not show. Parameters are the same in all processes of a run.
        if not all(torch.isfinite(parameter).all() for parameter in trainer.lightning_module.parameters()):
            raise Diverged(step)
        trainer.save_checkpoint(checkpoint_path(self.folder, step))
        self.saved = step
        if trainer.is_global_zero:
            prune(self.folder, step)
            self.segments.reached(step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Not when the batch before ended: Lightning logs its rows after that, and the checkpoint would lack them.
        self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)


class BestWeights(Callback):
    """Keeps the weights of the epoch with the best validation accuracy, where a test draw is left to judge them."""

    def __init__(self, path: Path, log: RunLog, metric: str) -> None:
        self.path, self.run_log, self.metric = path, log, metric

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = [value for _, value in self.run_log.series(self.metric)]
        if trainer.is_global_zero and values and values.index(max(values)) == len(values) - 1:
            write_by(self.path, lambda file: torch.save(pl_module.state_dict(), file))


class Watch(Callback):
    """Stops a run whose loss is no longer finite, and reports how far it is."""

    def __init__(self, plan: StepPlan, report: Report | None) -> None:
        self.plan, self.report = plan, report
        self.reported = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        loss = outputs["loss"]
        # On an accelerator, reading the loss waits for it: only as often as it is logged anyway.
        look = loss.device.type == "cpu" or step % LOG_EVERY_STEPS == 0
        # Of several processes each sees a loss of its own, and all must stop.
        if look and not trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(loss))):
            raise Diverged(step)
        now = time.monotonic()
        if self.report is not None and (now - self.reported > REPORT_SECONDS or step == self.plan.total_steps):
            self.reported = now
            self.report(step, self.plan.total_steps)

    def _look_at_evaluation(self, trainer: Trainer) -> None:
        # The last update before it is one whose loss has not been seen yet.
        if not all(torch.isfinite(value) for value in trainer.callback_metrics.values()):
            raise Diverged(trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look_at_evaluation(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look_at_evaluation(trainer)
