"""Detection and segmentation as a LightningModule: torchvision's losses, COCO's average precision in percent."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data.coco import DetectionBatch
from lightning_xvol.data.coco_annotations import CocoAnnotations
from lightning_xvol.detection.detections import to_image
from lightning_xvol.detection.evaluator import CocoEvaluator, Detection, merge_results
from lightning_xvol.detection.model import Detector
from lightning_xvol.detection.wandb_images import COUNT, picture_of
from lightning_xvol.errors import first_line
from lightning_xvol.modules.base import TrainedModule, gather

log = logging.getLogger(__name__)


class DetectionModule(TrainedModule):
    """Trains a `Detector` on the unweighted sum of its losses.

    Each training step logs every loss beside `train_loss`. Each evaluation logs `box_ap`, `box_ap50`, `box_ap75`,
    `box_ap_s`, `box_ap_m` and `box_ap_l`, and for a Mask R-CNN also `mask_ap` and so on. A metric that is undefined for
    the `annotations` of the evaluated images is not logged. An evaluation has no loss, because a detector in eval mode
    computes none.
    """

    network: Detector

    def __init__(self, network: Detector, config: RunConfig, *, annotations: CocoAnnotations, total_steps: int) -> None:
        super().__init__(network, config, total_steps=total_steps)
        self.evaluator = CocoEvaluator(annotations, masks=network.roi_heads.has_mask())
        self.shown: list[tuple[Tensor, int, list[Detection]]] = []  # image, index, detections: for the trackers

    def training_step(self, batch: DetectionBatch, batch_idx: int) -> Tensor:
        losses: dict[str, Tensor] = self.network(batch.images, batch.targets)
        loss = torch.stack(list(losses.values())).sum()
        self.log_step(loss)
        self.log_dict({f"train_{name}": value for name, value in losses.items()})
        return loss

    def _detect(self, batch: DetectionBatch) -> None:
        found = self.network(batch.images)
        indices = batch.indices.tolist()
        for image, target, index, output in zip(batch.images, batch.targets, indices, found, strict=True):
            height, width = target["size"].tolist()
            detections = to_image(output, (image.shape[1], image.shape[2]), (height, width))
            self.evaluator.add({int(target["image_id"]): detections})
            if self._trackers() and len(self.shown) < COUNT:
                self.shown.append((image, index, detections))

    def _trackers(self) -> list[Any]:
        return [logger for logger in self.loggers if hasattr(logger, "log_image")]

    def _measure(self) -> None:
        results = merge_results(gather(self.evaluator.results))
        self.evaluator.reset()
        metrics = self.evaluator.measure(results) if self.global_rank == 0 else {}
        self.log_dict(_defined(self.trainer.strategy.broadcast(metrics)), prog_bar=True)

    def _show(self) -> None:
        """Give images with detections to the trackers. An error in them never fails the run."""
        shown, self.shown = self.shown, []
        annotations, masked = self.evaluator.annotations, self.network.roi_heads.has_mask()
        try:
            pictures = [picture_of(*one, annotations, masked) for one in shown]
        except Exception as error:
            log.warning("cannot give pictures to the tracker (%s)", first_line(error))
            return
        for tracker in self._trackers() if pictures else ():
            pixels, boxes, masks = (list(values) for values in zip(*pictures, strict=True))
            tracker.log_image("detections", pixels, step=self.global_step - 1, boxes=boxes, masks=masks)

    def validation_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        self._detect(batch)

    def on_validation_epoch_end(self) -> None:
        self._measure()
        self._show()

    def test_step(self, batch: DetectionBatch, batch_idx: int) -> None:
        self._detect(batch)

    def on_test_epoch_end(self) -> None:
        self._measure()


def _defined(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not math.isnan(value)}
