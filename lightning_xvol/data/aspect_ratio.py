"""Batches of pictures that are all landscape or all not, so that a batch needs little padding (Detectron2)."""

from __future__ import annotations

import numpy
import torch

from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data.module import KeyedBatchSampler, StepPlan, make_plan


class AspectRatioSampler(KeyedBatchSampler):
    """Keys (epoch, index) as in `KeyedBatchSampler`, but each batch that runs through the network has one orientation.

    Such a batch is the share of one process in one accumulated step: `batch_size / (devices x accumulate)` images. The
    shares of one optimizer step may differ in orientation, as in Detectron2. So the order depends on the size of a
    share, which is part of a run's identity. An epoch leaves out the images that fill no share.

    Args:
        config: of the run.
        plan: from `grouped_plan`.
        landscape: whether each training image is wider than high.
        rank: of this process.
    """

    def __init__(self, config: RunConfig, plan: StepPlan, landscape: numpy.ndarray, rank: int) -> None:
        super().__init__(config, plan, len(landscape), rank)
        self.landscape = torch.from_numpy(landscape)

    def order(self, epoch: int) -> torch.Tensor:
        order = super().order(epoch)
        share = _share(self.config)
        wide = self.landscape[order]
        batches, ends = [], []
        for orientation in (True, False):
            positions = torch.nonzero(wide == orientation).flatten()
            full = positions[: len(positions) // share * share].view(-1, share)
            batches.append(order[full])  # [batches, share]
            ends.append(full[:, -1])
        # Batches are sorted by the position of their last image, as if the shuffled images were dealt into two piles.
        return torch.cat(batches)[torch.cat(ends).argsort()].flatten()


def grouped_plan(config: RunConfig, landscape: numpy.ndarray) -> StepPlan:
    """The `StepPlan` of a run whose batches are grouped: only whole shares of each orientation count.

    Raises:
        UserError: if the images do not fill one batch.
    """
    share, wide = _share(config), int(landscape.sum())
    return make_plan(config, sum(size // share * share for size in (wide, len(landscape) - wide)))


def _share(config: RunConfig) -> int:
    return config.data.batch_size // (config.train.devices * config.train.accumulate)
