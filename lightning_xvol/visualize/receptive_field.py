"""The effective receptive field: how strongly each pixel of the image moves one position of a feature map.

After Luo et al. 2016 (arXiv 1701.04128), where the gradient of the centre is averaged over images.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_xvol.visualize.places import Pixel, run_to, steps


def effective_receptive_field(network: nn.Module, module: nn.Module, images: Tensor) -> tuple[Tensor, Pixel]:
    """`|d sum_c y_c / d x|` for the centre position of the output y of `module`, and the pixel of that position.

    The field is `[H, W]`, summed over the channels of the image and averaged over `images` `[B, C, H, W]`. The centre
    of a map with n rows is row n // 2.
    """
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        _, output = run_to(network.eval(), module, images)
        row, column = output.shape[-2] // 2, output.shape[-1] // 2
        [gradient] = torch.autograd.grad(output[:, :, row, column].sum(), images)
    down, right = steps(images, output)
    return gradient.abs().sum(1).mean(0), (int(row * down), int(column * right))


def side_with(field: Tensor, centre: Pixel, share: float) -> int:
    """The side of the smallest square around `centre` with `share` of the sum of `field` `[H, W]`."""
    rows = (torch.arange(field.shape[0]) - centre[0]).abs()
    columns = (torch.arange(field.shape[1]) - centre[1]).abs()
    distance = torch.maximum(rows[:, None], columns[None, :])
    within = torch.zeros(int(distance.max()) + 1, dtype=torch.double)
    within.index_add_(0, distance.flatten(), field.flatten().double())
    reached = within.cumsum(0) >= share * within.sum() * (1 - 1e-9)
    return 2 * int(reached.nonzero()[0]) + 1
