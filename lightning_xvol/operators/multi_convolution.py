"""Multi-convolution: the convolution branch of X-volution, on its own.

Paper: X-volution (arXiv 2106.02253), 6.1.2 ("a 3x3 convolution paralleled with an additional 5x5 dilated convolution,
dilation = 2") and the second row of Table 2. Where the paper is silent we choose: the two convolutions are added,
neither has a bias, and one batch norm follows their sum.

Cost: 34 C_in C_out multiplications per output position by default, 3.8 times those of a 3x3 convolution.
"""

from __future__ import annotations

from torch import Tensor, nn

from lightning_xvol.config.weight_gradient import DILATION
from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, conv_macs, initialise
from lightning_xvol.operators.spatial import SpatialConv2d


class MultiConvolution(Operator):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x))`, K = `kernel_size`, D = `dilated_kernel_size`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. With `dilated_kernel_size=None` there is no
    second convolution: this is a KxK convolution with its batch norm.

    Raises:
        UserError: for an even kernel size, or channels or a stride that no operator takes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        kernel_size: int = 3,
        dilated_kernel_size: int | None = 5,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        size = checks.odd_kernel_size("kernel_size", kernel_size)
        self.conv = SpatialConv2d(in_channels, out_channels, size, stride)
        initialise(self.conv)
        self.dilated_conv: SpatialConv2d | None = None
        if dilated_kernel_size is not None:
            size = checks.odd_kernel_size("dilated_kernel_size", dilated_kernel_size)
            self.dilated_conv = SpatialConv2d(in_channels, out_channels, size, stride, DILATION)
            initialise(self.dilated_conv)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)  # [B, C_out, H', W']
        if self.dilated_conv is not None:
            y = y + self.dilated_conv(x)
        normed: Tensor = self.norm(y)
        return normed

    def macs(self, height: int, width: int) -> int:
        self.output_size(height, width)
        convolutions = (self.conv,) if self.dilated_conv is None else (self.conv, self.dilated_conv)
        return sum(conv_macs(conv, height, width) for conv in convolutions)
