"""What the final weights of a run are worth: its metrics, and whether its product of query and key is used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from lightning_xvol.config import registry
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.ledger.record import DECIMALS, summarise
from lightning_xvol.modules.base import TrainedModule
from lightning_xvol.training.callbacks import RunLog
from lightning_xvol.training.product_use import Probe, with_product
from lightning_xvol.training.tasks import task_of

Summary = dict[str, dict[str, float | int]]
"""Metric to its `last`, `best` and `best_epoch`."""

_TRAINING_METRICS = ("train_", "lr")  # what their names begin with


def metric_of(config: RunConfig) -> str:
    """The metric that runs of this task are judged by."""
    return registry.METRICS[registry.task(config.data.name, config.data.options)].name


def selected_by(config: RunConfig) -> str:
    """The metric of an epoch that chooses the best one, where there is a test draw."""
    return registry.validation_name(metric_of(config))


@dataclass(frozen=True)
class FinalEvaluation:
    """Evaluates the final weights of a run whose `log` holds its validation epochs.

    `best` is the file with the weights of the best of these, where the data has a test draw; `compute` gives what a
    trainer of the run computes with.
    """

    config: RunConfig
    data: ImageDataModule
    log: RunLog
    best: Path
    compute: Callable[[], Mapping[str, Any]]

    def summary(self) -> Summary:
        """The metrics of the validation epochs."""
        rows = [
            (row["name"], row["epoch"], row["value"])
            for row in self.log.rows
            if not row["name"].startswith(_TRAINING_METRICS)
        ]
        return summarise(rows)

    def evaluate(self, trainer: Trainer, module: TrainedModule) -> Summary:
        """The metrics of the validation epochs and, where there is a test draw, of its single use at the end.

        On the test draw `last` belongs to the last weights and `best` to those of the best validation epoch.
        """
        if not self.data.has_test:
            return self.summary()
        [last] = trainer.test(module, datamodule=self.data, verbose=False)
        summary = self.summary()
        best_epoch = summary[selected_by(self.config)]["best_epoch"]
        best: Mapping[str, float] = last
        if best_epoch != self.log.rows[-1]["epoch"]:
            final = {name: value.clone() for name, value in module.state_dict().items()}
            module.load_state_dict(torch.load(self.best, weights_only=True))
            best = self._test(module)
            module.load_state_dict(final)
        for name, value in last.items():
            summary[name] = {
                "last": round(value, DECIMALS),
                "best": round(best[name], DECIMALS),
                "best_epoch": best_epoch,
            }
        return summary

    def product_use(self, trainer: Trainer, module: TrainedModule) -> Summary:
        """The task's metric of the last weights under each of its `ablations`; nothing where no product is."""
        if not with_product(module.network):
            return {}
        task, metric = task_of(self.config), metric_of(self.config)
        metrics = {}
        for name in task.ablations:
            changed = task.module(copy.deepcopy(module.network), self.config, self.data)
            found = self._test(changed, Probe(name))
            if metric in found:  # where no image holds an object, no average precision is defined
                metrics[f"{metric}_{name}"] = found[metric]
        if not metrics:
            return {}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=self.data.plan.total_steps)
        epoch = self.log.rows[-1]["epoch"]
        return summarise([(name, epoch, value) for name, value in metrics.items()])

    def _test(self, module: TrainedModule, *callbacks: Callback) -> Mapping[str, float]:
        """The metrics of `module` on the split of the final evaluation, logged nowhere."""
        silent = Trainer(
            **self.compute(),
            logger=False,
            callbacks=list(callbacks),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        [metrics] = silent.test(module, datamodule=self.data, verbose=False)
        return metrics
