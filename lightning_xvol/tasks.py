"""What a run is about: its data module, its LightningModule, and the metric by which weights are chosen.

The task belongs to the data set (`registry.Entry.task`): from images with labels a network learns to classify, from
pairs of maps to regress. Everything else, from the trainer to the record, is the same for all tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_xvol import registry
from lightning_xvol.classification import ClassificationModule
from lightning_xvol.config import RunConfig
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.regression import RegressionModule, fit_static
from lightning_xvol.supervised import SupervisedModule

CHUNK = 256


@dataclass(frozen=True)
class Task:
    """`metric` is the one that tables report unless asked otherwise, without the prefix of a validation draw."""

    data: Callable[..., ImageDataModule]  # (config, data_dir, download=...)
    module: Callable[[nn.Module, RunConfig, ImageDataModule], SupervisedModule]
    metric: str


def task_of(config: RunConfig) -> Task:
    return TASKS[registry.lookup("data", config.data.name).task]


def _prefix(data: ImageDataModule) -> str:
    return "val_" if data.has_test else ""


def _classification(network: nn.Module, config: RunConfig, data: ImageDataModule) -> ClassificationModule:
    return ClassificationModule(
        network,
        config,
        num_classes=data.num_classes,
        total_steps=data.plan.total_steps,
        validation_prefix=_prefix(data),
    )


def _regression(network: nn.Module, config: RunConfig, data: ImageDataModule) -> RegressionModule:
    return RegressionModule(
        network,
        config,
        static=fit_static(_chunks(data.data.train())),
        total_steps=data.plan.total_steps,
        validation_prefix=_prefix(data),
    )


def _chunks(split: Any) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(split), CHUNK):
        yield split.batch(range(start, min(start + CHUNK, len(split))))


TASKS = {
    "classification": Task(ImageDataModule, _classification, "top1"),
    "regression": Task(ImageDataModule, _regression, "explained_beyond_static"),
}
