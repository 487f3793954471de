"""A convolution with a hidden layer, and the width that gives it a wanted number of parameters.

The controls that have as many parameters as X-volution share it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_xvol.operators.base import conv_macs, initialise
from lightning_xvol.operators.spatial import SpatialConv2d


class Hidden(nn.Module):
    """`W' ReLU(BN(W * x))`: a KxK convolution to `width` channels, then a 1x1. The KxK convolution takes the stride."""

    def __init__(self, in_channels: int, out_channels: int, width: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv = SpatialConv2d(in_channels, width, kernel_size, stride)
        self.norm = nn.BatchNorm2d(width)
        self.output = nn.Conv2d(width, out_channels, 1, bias=False)
        initialise(self.conv)
        initialise(self.output)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.output(torch.relu(self.norm(self.conv(x))))
        return y

    def hidden_macs(self, height: int, width: int) -> int:
        stride = self.conv.stride[0]
        return conv_macs(self.conv, height, width) + conv_macs(self.output, -(-height // stride), -(-width // stride))


def width_for(count: int, in_channels: int, out_channels: int, kernel_size: int) -> int:
    """The width, at least 1, that brings the parameters of `Hidden` nearest to `count`."""
    return max(1, round(count / (kernel_size**2 * in_channels + 2 + out_channels)))


def parameters(operator: Callable[[], nn.Module]) -> int:
    """The number of parameters that `operator()` has. Nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in operator().parameters())
