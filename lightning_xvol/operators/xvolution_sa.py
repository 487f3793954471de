"""X-volution(SA): a convolution branch and a global self-attention branch, added.

Paper: X-volution (arXiv 2106.02253), Tables 2 and 3. It says only that self-attention takes the place of PSSA. We
choose: the attention branch ends in its own batch norm, as in X-volution, and nothing weighs the branches.
`multi_convolution.py` and `self_attention.py` describe the two branches.

Cost: the sum of both branches, quadratic in the number of pixels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lightning_xvol.operators.self_attention import SelfAttention
from lightning_xvol.operators.xvolution import TwoBranches


class XVolutionSA(TwoBranches):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + BN(self-attention(x))`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`, K = `kernel_size`, D = `dilated_kernel_size`.

    Args:
        kernel_size, dilated_kernel_size: those of `MultiConvolution`. With `dilated_kernel_size=None` the convolution
            branch is the KxK convolution alone.
        attention: the options of `SelfAttention`.

    Raises:
        UserError: where a branch refuses its arguments.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        kernel_size: int = 3,
        dilated_kernel_size: int | None = 5,
        **attention: Any,
    ) -> None:
        super().__init__(
            in_channels, out_channels, stride=stride, kernel_size=kernel_size, dilated_kernel_size=dilated_kernel_size
        )
        self.attention = SelfAttention(in_channels, out_channels, stride=stride, **attention)
        self.norm = nn.BatchNorm2d(out_channels)

    def second_branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.attention(x))
        return y

    def second_macs(self, height: int, width: int) -> int:
        return self.attention.macs(height, width)
