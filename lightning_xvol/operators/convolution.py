"""Convolution, the baseline of every table.

Paper: X-volution (arXiv 2106.02253), Eq. 1. Where it is silent we choose zero padding `kernel_size // 2` and no bias,
as in ResNet, where a batch norm follows.

Cost: `kernel_size ** 2 * C_in * C_out` multiplications per output position.
"""

from __future__ import annotations

from torch import Tensor

from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, conv_macs, initialise
from lightning_xvol.operators.spatial import SpatialConv2d


class Convolution(Operator):
    """`y_0 = sum_{i in KxK} w_i x_i`: `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`.

    Raises:
        UserError: for an even `kernel_size`, or channels or a stride that no operator takes.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, kernel_size: int = 3) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        kernel_size = checks.odd_kernel_size("kernel_size", kernel_size)
        self.conv = SpatialConv2d(in_channels, out_channels, kernel_size, stride)
        initialise(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y

    def macs(self, height: int, width: int) -> int:
        self.output_size(height, width)
        return conv_macs(self.conv, height, width)
