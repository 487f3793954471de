"""The Lightning data module of data sets in COCO's format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy

from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data.aspect_ratio import AspectRatioSampler, grouped_plan
from lightning_xvol.data.coco import CocoSplit, collate_detections
from lightning_xvol.data.coco_annotations import CocoAnnotations
from lightning_xvol.data.module import ImageDataModule, StepPlan


class DetectionDataModule(ImageDataModule):
    """Annotated pictures, with keys, order, augmentation and resume as in `ImageDataModule`.

    Batches are `DetectionBatch`es. In training, the pictures of a batch are all landscape or all not. In evaluation a
    batch is one picture: with several, the padding would show a global attention how large the others are.
    """

    collate = staticmethod(collate_detections)
    evaluation_batch = 1

    @property
    def classes(self) -> Sequence[str]:
        return tuple(self.annotations.categories.values())

    @property
    def annotations(self) -> CocoAnnotations:
        """The annotations of the validation split."""
        return cast(CocoSplit, self._validation.dataset).annotations

    @property
    def _landscape(self) -> numpy.ndarray:
        return cast(CocoSplit, self._train.dataset).annotations.landscape

    def plan_for(self, config: RunConfig) -> StepPlan:
        return grouped_plan(config, self._landscape)

    def sampler(self, rank: int) -> AspectRatioSampler:
        return AspectRatioSampler(self.config, self.plan, self._landscape, rank)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return `batch` unchanged: the detector itself normalises and pads its pictures."""
        return batch
