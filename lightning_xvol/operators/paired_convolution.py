"""Paired convolution: X-volution with a second convolution in the place of its attention branch.

Not in the paper: a control. Two branches with a batch norm each train otherwise than one (RepVGG, arXiv 2101.03697, has
a 1x1 beside its 3x3), and 24 taps that reach 5 pixels may be what a dense depthwise kernel of that reach does as well.
The depthwise kernel works on a 1x1 projection, as the taps of PSSA work on the value.

Cost: the convolution branch, and C_in C_out multiplications per position, and S^2 C_out for a depthwise SxS.
"""

from __future__ import annotations

from torch import Tensor, nn

from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, conv_macs
from lightning_xvol.operators.multi_convolution import MultiConvolution


class PairedConvolution(Operator):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + BN(DW_SxS * W x)`, S = `second_kernel_size`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. K is `kernel_size`, D `dilated_kernel_size`;
    with `dilated_kernel_size=None` the first branch is the KxK convolution alone. W is a 1x1 convolution, DW a
    depthwise one, which S = 1 leaves out: its scale per channel would be that of the batch norm. DW starts normal with
    variance 1 / S^2, as the tap weights of PSSA do.

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
        second_kernel_size: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.convolution = MultiConvolution(
            in_channels,
            out_channels,
            stride=stride,
            kernel_size=kernel_size,
            dilated_kernel_size=dilated_kernel_size,
        )
        size = checks.odd_kernel_size("second_kernel_size", second_kernel_size)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, stride if size == 1 else 1, bias=False)
        self.depthwise: nn.Conv2d | None = None
        if size > 1:
            self.depthwise = nn.Conv2d(
                out_channels, out_channels, size, stride, padding=size // 2, groups=out_channels, bias=False
            )
            nn.init.normal_(self.depthwise.weight, std=1 / size)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        second = self.pointwise(x)
        if self.depthwise is not None:
            second = self.depthwise(second)
        y: Tensor = self.convolution(x) + self.norm(second)
        return y

    def macs(self, height: int, width: int) -> int:
        depthwise = 0 if self.depthwise is None else conv_macs(self.depthwise, height, width)
        return self.convolution.macs(height, width) + conv_macs(self.pointwise, height, width) + depthwise
