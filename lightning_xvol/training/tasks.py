"""The tasks: for each, the data module, the network and the LightningModule of a run.

The data set decides the task (`registry.task`): images with labels are for classification, pairs of maps for
regression, annotated images for detection, and with masks for segmentation. Everything else, from the trainer to the
record, is the same for all tasks. `lightning_xvol.config.metrics` names the metric of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lightning_xvol.backbones import build_backbone, count_taps, trace
from lightning_xvol.backbones.taps import outside
from lightning_xvol.config import registry
from lightning_xvol.config.detectors import get_preset
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data.detection import DetectionDataModule
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.detection.model import build_detector
from lightning_xvol.errors import UserError
from lightning_xvol.modules.base import TrainedModule
from lightning_xvol.modules.classification import ClassificationModule
from lightning_xvol.modules.detection import DetectionModule
from lightning_xvol.modules.regression import RegressionModule, fit_static
from lightning_xvol.training.predictions import Kept, KeptDetections, KeptPredictions, label_names
from lightning_xvol.training.product_use import PROBES, with_product

CHUNK = 256


def _whole(network: nn.Module) -> nn.Module:
    return network


def _nothing(_config: RunConfig, _data: ImageDataModule) -> None:
    """What a run keeps that leaves no output of its evaluation."""


@dataclass(frozen=True)
class Task:
    """How a run of a task is built.

    Attributes:
        data: makes the data module from (config, data_dir, download=...).
        network: makes the network from (config, number of classes, channels of an image).
        module: makes the LightningModule from (network, config, data module).
        body: the part of the network whose multiply-adds are counted; it takes one tensor [B, C, H, W].
        kept: makes the callback that keeps what the final evaluation says of each image, or None, from (config, data
            module).
        probes: the names of the probes in `product_use` for a trained network.
    """

    data: Callable[..., ImageDataModule]
    network: Callable[[RunConfig, int, int], nn.Module]
    module: Callable[[nn.Module, RunConfig, ImageDataModule], TrainedModule]
    body: Callable[[nn.Module], nn.Module] = _whole
    kept: Callable[[RunConfig, ImageDataModule], Kept | None] = _nothing
    probes: tuple[str, ...] = tuple(PROBES)


def task_of(config: RunConfig) -> Task:
    return TASKS[registry.task(config.data.name, config.data.options)]


def without_effect(config: RunConfig, network: nn.Module) -> list[str]:
    """A sentence if the configuration asks for a fine-tuning that has no effect on this network; nothing otherwise."""
    share = config.train.finetune_ablated
    if not share or with_product(network):
        return []
    return [f"train.finetune_ablated={share:g} has no effect on {config.operator.name!r}, which has no product of PSSA"]


def taps_outside(config: RunConfig, network: nn.Module, image_shape: Sequence[int]) -> list[str]:
    """A sentence for each kind of taps of which some can never be inside the map; nothing where that is not known."""
    body = task_of(config).body(network)
    try:
        return outside(count_taps(body, trace(body, image_shape)))
    except Exception:  # an operator of the user's own that does not run on the meta device
        return []


def _classes(config: RunConfig, data_dir: Path | None = None, *, download: bool = False) -> ImageDataModule:
    """The data module of a classification.

    Raises:
        UserError: for data of fewer than two classes, which no network can tell apart.
    """
    data = ImageDataModule(config, data_dir, download=download)
    if data.num_classes < 2:
        raise UserError(
            f"data {config.data.name!r} have {data.num_classes} class{'es' * (data.num_classes != 1)}, and a "
            f"classification needs at least 2; check the class folders in {str(data_dir or 'data')!r} (--data-dir)"
        )
    return data


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
        get_preset(config.detector.preset),
        num_classes,
        masks=bool(config.data.options["masks"]),
        pretraining=config.detector.pretraining,
    )


def _detection(network: Any, config: RunConfig, data: Any) -> DetectionModule:
    return DetectionModule(network, config, annotations=data.annotations, total_steps=data.plan.total_steps)


def _pyramid(detector: Any) -> nn.Module:
    """The backbone with its pyramid: the cost of the heads depends on the number of proposals."""
    pyramid: nn.Module = detector.backbone
    return pyramid


def _predictions(_config: RunConfig, data: ImageDataModule) -> Kept:
    return KeptPredictions(data.plan.total_steps, label_names(data.classes, data.num_classes))


def _detections(config: RunConfig, data: Any) -> Kept | None:
    if not config.detector.keep_detections:
        return None
    return KeptDetections(data.plan.total_steps, data.annotations, masks=bool(config.data.options["masks"]))


# Detectors evaluate images one by one, so no image can take the queries of another.
_DETECTION = Task(DetectionDataModule, _detector, _detection, body=_pyramid, kept=_detections, probes=("mean_ablated",))

TASKS = {
    "classification": Task(_classes, _classifier, _classification, kept=_predictions),
    "regression": Task(ImageDataModule, _classifier, _regression),
    "detection": _DETECTION,
    "segmentation": _DETECTION,
}
