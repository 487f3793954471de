"""What a run is about: its data module, its network and its LightningModule.

The task belongs to the data set (`registry.task`): from images with labels a network learns to classify, from pairs of
maps to regress, from annotated pictures to detect, and with masks to segment. Everything else, from the trainer to the
record, is the same for all tasks. By which metric it is judged says `registry.METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_xvol.backbones import build_backbone
from lightning_xvol.config import registry
from lightning_xvol.config.detectors import get_settings
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data.detection import DetectionDataModule
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.detection.model import build_detector
from lightning_xvol.modules.base import TrainedModule
from lightning_xvol.modules.classification import ClassificationModule
from lightning_xvol.modules.detection import DetectionModule
from lightning_xvol.modules.regression import RegressionModule, fit_static
from lightning_xvol.training.product_use import ABLATIONS

CHUNK = 256


def _whole(network: nn.Module) -> nn.Module:
    return network


@dataclass(frozen=True)
class Task:
    """`body` is the part of the network whose multiply-adds are counted, which takes one tensor [B, C, H, W].

    `ablations` are those of `product_use` that a trained network is judged by.
    """

    data: Callable[..., ImageDataModule]  # (config, data_dir, download=...)
    network: Callable[[RunConfig, int, int], nn.Module]  # (config, number of classes, channels of an image)
    module: Callable[[nn.Module, RunConfig, ImageDataModule], TrainedModule]
    body: Callable[[nn.Module], nn.Module] = _whole
    ablations: tuple[str, ...] = tuple(ABLATIONS)


def task_of(config: RunConfig) -> Task:
    return TASKS[registry.task(config.data.name, config.data.options)]


def _classifier(config: RunConfig, num_classes: int, in_channels: int) -> nn.Module:
    return build_backbone(config.backbone, config.operator, num_classes=num_classes, in_channels=in_channels)


def _classification(network: nn.Module, config: RunConfig, data: ImageDataModule) -> ClassificationModule:
    return ClassificationModule(
        network,
        config,
        num_classes=data.num_classes,
        total_steps=data.plan.total_steps,
        has_test=data.has_test,
    )


def _regression(network: nn.Module, config: RunConfig, data: ImageDataModule) -> RegressionModule:
    return RegressionModule(
        network,
        config,
        static=fit_static(_chunks(data.data.train())),
        total_steps=data.plan.total_steps,
        has_test=data.has_test,
    )


def _chunks(split: Any) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(split), CHUNK):
        yield split.batch(range(start, min(start + CHUNK, len(split))))


def _detector(config: RunConfig, num_classes: int, in_channels: int) -> nn.Module:  # noqa: ARG001 (it is 3)
    return build_detector(
        config.backbone,
        config.operator,
        get_settings(config.detector.settings),
        num_classes,
        masks=bool(config.data.options["masks"]),
        pretraining=config.detector.pretraining,
    )


def _detection(network: Any, config: RunConfig, data: Any) -> DetectionModule:
    return DetectionModule(network, config, annotations=data.annotations, total_steps=data.plan.total_steps)


def _pyramid(detector: Any) -> nn.Module:
    """What the heads cost depends on how many proposals there are."""
    pyramid: nn.Module = detector.backbone
    return pyramid


# Pictures are evaluated one by one, so none can have the queries of another.
_DETECTION = Task(DetectionDataModule, _detector, _detection, body=_pyramid, ablations=("mean_ablated",))

TASKS = {
    "classification": Task(ImageDataModule, _classifier, _classification),
    "regression": Task(ImageDataModule, _classifier, _regression),
    "detection": _DETECTION,
    "segmentation": _DETECTION,
}
