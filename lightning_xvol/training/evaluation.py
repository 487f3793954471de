"""The final evaluation of a run: its metrics, and whether its weights use the product of query and key."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer

from lightning_xvol.config import registry
from lightning_xvol.config.fine_tuning import is_fine_tuned
from lightning_xvol.config.metrics import METRICS, validation_name
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.ledger.record import DECIMALS, summarise
from lightning_xvol.modules.base import TrainedModule
from lightning_xvol.training.callbacks import RunLog
from lightning_xvol.training.fine_tuning import ABLATED, FINE_TUNED, fine_tuned
from lightning_xvol.training.product_use import Probe, with_product
from lightning_xvol.training.tasks import task_of
from lightning_xvol.training.trainer import make_trainer

Summary = dict[str, dict[str, float | int]]
"""Maps each metric to its `last`, `best` and `best_epoch`."""

_TRAINING_METRICS = ("train_", "lr")  # the names of metrics of training steps begin so


def metric_of(config: RunConfig) -> str:
    """The metric by which runs of this task are compared."""
    return METRICS[registry.task(config.data.name, config.data.options)].name


def selected_by(config: RunConfig) -> str:
    """The metric that chooses the best epoch, in a run with a test split."""
    return validation_name(metric_of(config))


@dataclass(frozen=True)
class FinalEvaluation:
    """Evaluates the final weights of a run.

    Attributes:
        config: the configuration of the run.
        data: its data.
        log: its metric rows, with every validation.
        best: the file with the weights of the best validation epoch, if the data have a test split.
        compute: returns the arguments with which a trainer of this run computes.
    """

    config: RunConfig
    data: ImageDataModule
    log: RunLog
    best: Path
    compute: Callable[[], Mapping[str, Any]]

    @property
    def validated_by(self) -> tuple[str, str]:
        """The metric of the task, and the name under which a validation logs it."""
        metric = metric_of(self.config)
        return metric, selected_by(self.config) if self.data.has_test else metric

    def summary(self) -> Summary:
        """The metrics of all validations."""
        rows = [
            (row["name"], row["epoch"], row["value"])
            for row in self.log.rows
            if not row["name"].startswith(_TRAINING_METRICS)
        ]
        return summarise(rows)

    def evaluate(self, trainer: Trainer, module: TrainedModule) -> Summary:
        """The metrics of all validations, and of the test split if there is one: it is used once, here.

        On the test split, `last` belongs to the last weights and `best` to the weights of the best validation epoch.
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
            best = self.test(module)
            module.load_state_dict(final)
        for name, value in last.items():
            summary[name] = {
                "last": round(value, DECIMALS),
                "best": round(best[name], DECIMALS),
                "best_epoch": best_epoch,
            }
        return summary

    def product_use(self, trainer: Trainer, module: TrainedModule) -> Summary:
        """The metric of the last weights under each probe of the task, and after a fine-tuning without the product.

        The summary is empty for a network without a product.
        """
        if not with_product(module.network):
            return {}
        task, metric = task_of(self.config), metric_of(self.config)
        measured = {}
        for name in task.probes:
            changed = task.module(copy.deepcopy(module.network), self.config, self.data)
            measured[name] = self.test(changed, Probe(name))
            if name == ABLATED and is_fine_tuned(self.config):
                tuned = fine_tuned(changed.network, self.config, self.data, self.compute())
                measured[FINE_TUNED] = {} if tuned is None else self.test(tuned)
        # Images without objects define no average precision.
        metrics = {f"{metric}_{name}": found[metric] for name, found in measured.items() if metric in found}
        if not metrics:
            return {}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=self.data.plan.total_steps)
        epoch = self.log.rows[-1]["epoch"]
        return summarise([(name, epoch, value) for name, value in metrics.items()])

    def test(self, module: TrainedModule, *callbacks: Callback) -> Mapping[str, float]:
        """The metrics of `module` on the split of the final evaluation. Nothing is logged."""
        silent = make_trainer(
            threads=self.config.train.threads,
            **self.compute(),
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        [metrics] = silent.test(module, datamodule=self.data, verbose=False)
        return metrics
