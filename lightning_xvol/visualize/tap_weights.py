"""The learned weights of PSSA's taps by distance and direction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_xvol.operators.pssa import PSSA


@dataclass(frozen=True)
class TapWeights:
    """`rings` `[G, L, 8]`: a group (G) is a head, or everything where the weights are per channel or dense.

    The directions are those of `kernels.spec.DIRECTIONS`: row-major around x_0, from above left to below right.

    Attributes:
        centre: `[G]`, where there is a tap at x_0.
        distances: the L shifts, in pixels of the map.
        signed: weights of heads as they are; of channels, where signs cancel, root mean squares.
    """

    rings: Tensor
    centre: Tensor | None
    distances: tuple[int, ...]
    signed: bool


def find_pssa(operator: nn.Module) -> PSSA | None:
    """The PSSA in an operator, if there is one."""
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
