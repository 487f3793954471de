"""Batches of pictures that are all wider than high, or all not, so that little of a batch is padding (Detectron2)."""

from __future__ import annotations

import numpy
import torch

from lightning_xvol.config.schema import RunConfig
from lightning_xvol.data.module import KeyedBatchSampler, StepPlan, make_plan


class AspectRatioSampler(KeyedBatchSampler):
    """Keys (epoch, index) as in `KeyedBatchSampler`, where each batch that runs through the network is of one kind.

    That is the share of one process in one accumulated step, `batch_size / (devices x accumulate)` images; the shares
    of an optimizer step may differ in kind, as in Detectron2. So the order depends on that number, which is part of a
    run's identity. The images that are left over when no share fills are not seen in that epoch.

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
        for kind in (True, False):
            places = torch.nonzero(wide == kind).flatten()
            full = places[: len(places) // share * share].view(-1, share)
            batches.append(order[full])  # [batches, share]
            ends.append(full[:, -1])
        # A batch comes when its last image has come, as if the shuffled images were dealt into two piles.
        return torch.cat(batches)[torch.cat(ends).argsort()].flatten()


def grouped_plan(config: RunConfig, landscape: numpy.ndarray) -> StepPlan:
    """The `StepPlan` of a run whose batches are grouped: whole shares of each kind only.

    Raises:
        UserError: where not even one batch fills.
    """
    share, wide = _share(config), int(landscape.sum())
    return make_plan(config, sum(size // share * share for size in (wide, len(landscape) - wide)))


def _share(config: RunConfig) -> int:
    return config.data.batch_size // (config.train.devices * config.train.accumulate)
