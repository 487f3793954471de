"""The learned weights of PSSA's taps by distance and direction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_xvol.operators.pssa import PSSA


@dataclass(frozen=True)
class TapWeights:
    """The weights of a PSSA's taps.

    Attributes:
        rings: `[G, L, 8]`. There is one group for each head. Weights per channel, and dense ones, form one group. The
            directions are those of `kernels.spec.DIRECTIONS`: row-major around x_0, from above left to below right.
        centre: `[G]`, the weights of the tap at x_0; None without such a tap.
        distances: the L shift distances, in pixels of the map.
        signed: whether these are the weights themselves, as for heads. For channels they are root mean squares,
            because signs would cancel.
    """

    rings: Tensor
    centre: Tensor | None
    distances: tuple[int, ...]
    signed: bool


def find_pssa(operator: nn.Module) -> PSSA | None:
    """The PSSA inside an operator, or None."""
    return next((module for module in operator.modules() if isinstance(module, PSSA)), None)


@torch.no_grad()
def tap_weights(pssa: PSSA) -> TapWeights:
    """The tap weights of `pssa`, distances in ascending order."""
    weight = pssa.tap_weight.detach()
    signed = pssa.form.weight == "head"
    if not signed:  # [C, T] or, dense, [C, T, C]
        weight = weight.square().movedim(1, -1).flatten(0, -2).mean(0, keepdim=True).sqrt()  # [1, T]
    distances = pssa.spec.shift_distances
    order = sorted(range(len(distances)), key=lambda index: distances[index])
    rings = weight[:, : 8 * len(distances)].unflatten(1, (-1, 8))[:, order]  # [G, L, 8]
    centre = weight[:, -1] if pssa.spec.centre else None
    return TapWeights(rings, centre, tuple(distances[index] for index in order), signed)
