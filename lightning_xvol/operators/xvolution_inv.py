"""X-volution(Inv): a convolution branch and an involution branch, added.

Paper: X-volution (arXiv 2106.02253), Tables 2 and 3. It says of this operator only that involution stands in PSSA's
place. Our reading: the branch ends in a batch norm of its own, as X-volution's does, beside the one inside that
generates the kernels, and nothing weighs the branches. `multi_convolution.py` and `involution.py` tell how the
branches are read.

Cost: the sum of its branches.
"""

from __future__ import annotations

from torch import Tensor, nn

from lightning_xvol.operators.base import Operator
from lightning_xvol.operators.involution import Involution
from lightning_xvol.operators.multi_convolution import MultiConvolution


class XVolutionInv(Operator):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + BN(involution(x))`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. K is `kernel_size`, D `dilated_kernel_size`;
    with `dilated_kernel_size=None` the convolution branch is the KxK convolution alone. `involution_kernel_size`,
    `group_channels` and `reduction` are those of `Involution`.

    Raises:
        UserError: where one of the branches refuses its arguments.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        kernel_size: int = 3,
        dilated_kernel_size: int | None = 5,
        involution_kernel_size: int = 7,
        group_channels: int | None = None,
        reduction: int = 4,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.convolution = MultiConvolution(
            in_channels,
            out_channels,
            stride=stride,
            kernel_size=kernel_size,
            dilated_kernel_size=dilated_kernel_size,
        )
        self.attention = Involution(
            in_channels,
            out_channels,
            stride=stride,
            kernel_size=involution_kernel_size,
            group_channels=group_channels,
            reduction=reduction,
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x) + self.norm(self.attention(x))
        return y

    def macs(self, height: int, width: int) -> int:
        return self.convolution.macs(height, width) + self.attention.macs(height, width)
