"""Paired convolution: X-volution with a second convolution instead of its attention branch.

Not in the paper: a control. It answers two questions about a gain of X-volution:

* Does it come from the second branch alone? Two branches with a batch norm each train differently from one branch
  (RepVGG, arXiv 2101.03697, has a 1x1 beside its 3x3).
* Does it come from the reach alone? A dense depthwise kernel may do as well as 24 taps that reach 5 pixels.

The depthwise kernel works on a 1x1 projection, as the taps of PSSA work on the value.

Cost: the convolution branch, C_in C_out multiplications per position, and S^2 C_out for a depthwise SxS.
"""

from __future__ import annotations

from torch import Tensor, nn

from lightning_xvol.operators import checks
from lightning_xvol.operators.base import conv_macs
from lightning_xvol.operators.xvolution import TwoBranches


class PairedConvolution(TwoBranches):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + BN(DW_SxS * W x)`, S = `second_kernel_size`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`, K = `kernel_size`, D = `dilated_kernel_size`.
    W is a 1x1 convolution and DW a depthwise one, which starts normal with variance 1 / S^2, as the tap weights of PSSA
    do. With S = 1 there is no DW: its scale per channel would be that of the batch norm.

    Raises:
        UserError: for an even kernel size, or channels or a stride that no operator takes.
    """

    def build_second(self, *, second_kernel_size: int = 1) -> None:
        channels, stride = self.out_channels, self.stride
        size = checks.odd_kernel_size("second_kernel_size", second_kernel_size)
        self.pointwise = nn.Conv2d(self.in_channels, channels, 1, stride if size == 1 else 1, bias=False)
        self.depthwise: nn.Conv2d | None = None
        if size > 1:
            self.depthwise = nn.Conv2d(channels, channels, size, stride, padding=size // 2, groups=channels, bias=False)
            nn.init.normal_(self.depthwise.weight, std=1 / size)
        self.norm = nn.BatchNorm2d(channels)

    def second(self, x: Tensor) -> Tensor:
        y = self.pointwise(x)
        if self.depthwise is not None:
            y = self.depthwise(y)
        normed: Tensor = self.norm(y)
        return normed

    def second_macs(self, height: int, width: int) -> int:
        depthwise = 0 if self.depthwise is None else conv_macs(self.depthwise, height, width)
        return conv_macs(self.pointwise, height, width) + depthwise
