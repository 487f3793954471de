"""What the controls of equal parameters share: a convolution over a hidden layer, and how wide that layer is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lightning_xvol.operators.base import conv_macs, initialise


class Hidden(nn.Module):
    """`W' ReLU(BN(W * x))`: a KxK convolution to `width` channels, which takes the stride, then a 1x1."""

    def __init__(self, in_channels: int, out_channels: int, width: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, kernel_size, stride, padding=kernel_size // 2, bias=False)
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
    """The width, at least 1, at which `Hidden` comes nearest to `count` parameters."""
    return max(1, round(count / (kernel_size**2 * in_channels + 2 + out_channels)))


def parameters(operator: Callable[[], nn.Module]) -> int:
    """How many parameters `operator` makes; nothing is allocated."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in operator().parameters())
