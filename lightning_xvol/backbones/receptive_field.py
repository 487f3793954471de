"""The effective receptive field: how strongly each pixel of the image changes one position of a feature map.

Luo et al. 2016 (arXiv 1701.04128) define it as the gradient of the centre, averaged over images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_xvol.backbones.strides import stage_blocks

Pixel = tuple[int, int]  # row and column


@dataclass(frozen=True)
class StageOperator:
    """The operator in the last block of a stage.

    Attributes:
        stage: 2 to 5.
        path: of the operator in the network.
        operator: the module.
    """

    stage: int
    path: str
    operator: nn.Module


def stage_operators(network: nn.Module, stages: Sequence[int]) -> list[StageOperator]:
    """The last operator of each of `stages` (2 to 5), in the order of the network."""
    found = []
    for stage, _, blocks, _ in stage_blocks(network, stages):
        if blocks:
            found.append(StageOperator(stage, f"{blocks[-1].path}.conv2", blocks[-1].second))
    return found


def run_to(network: nn.Module, module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Input and output of `module` when `network` sees `images`, with gradients if they are enabled."""
    seen: list[tuple[Tensor, Tensor]] = []
    # A copy of the output, because the next layer may work in place.
    handle = module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output.clone())))
    try:
        network(images)
    finally:
        handle.remove()
    return seen[-1]


def steps(images: Tensor, map_: Tensor) -> tuple[float, float]:
    """The distance in pixels of the image between neighbours in `map_`, down and right."""
    rows, columns = (round(images.shape[axis] / map_.shape[axis]) for axis in (-2, -1))
    return max(1, rows), max(1, columns)


def positions(images: Tensor, map_: Tensor, pixels: Sequence[Pixel]) -> list[Pixel]:
    """The positions of `map_` nearest to `pixels` of the image."""
    step = torch.tensor(steps(images, map_))
    last = torch.tensor(map_.shape[-2:]) - 1
    nearest = (torch.tensor(pixels) / step).round().long().clamp(min=torch.zeros(2, dtype=torch.long), max=last)
    return [(int(row), int(column)) for row, column in nearest]


def effective_receptive_field(network: nn.Module, module: nn.Module, images: Tensor) -> tuple[Tensor, Pixel]:
    """`|d sum_c y_c / d x|` for the centre position of the output y of `module`, and the pixel of that position.

    The gradient is summed over the channels of the image and averaged over `images` `[B, C, H, W]`, which gives a field
    `[H, W]`. The centre of a map with n rows is row n // 2.
    """
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        _, output = run_to(network.eval(), module, images)
        row, column = output.shape[-2] // 2, output.shape[-1] // 2
        [gradient] = torch.autograd.grad(output[:, :, row, column].sum(), images)
    down, right = steps(images, output)
    return gradient.abs().sum(1).mean(0), (int(row * down), int(column * right))


def side_with(field: Tensor, centre: Pixel, share: float) -> int:
    """The side of the smallest square around `centre` that holds `share` of the sum of `field` `[H, W]`."""
    rows = (torch.arange(field.shape[0]) - centre[0]).abs()
    columns = (torch.arange(field.shape[1]) - centre[1]).abs()
    distance = torch.maximum(rows[:, None], columns[None, :])
    within = torch.zeros(int(distance.max()) + 1, dtype=torch.double)
    within.index_add_(0, distance.flatten(), field.flatten().double())
    reached = within.cumsum(0) >= share * within.sum() * (1 - 1e-9)
    return 2 * int(reached.nonzero()[0]) + 1
