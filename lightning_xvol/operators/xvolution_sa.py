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
    The options are those of `TwoBranches` and of `SelfAttention`.

    Raises:
        UserError: where a branch refuses its arguments.
    """

    def build_second(self, **attention: Any) -> None:
        self.attention = SelfAttention(self.in_channels, self.out_channels, stride=self.stride, **attention)
        self.norm = nn.BatchNorm2d(self.out_channels)

    def second(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.attention(x))
        return y

    def second_macs(self, height: int, width: int) -> int:
        return self.attention.macs(height, width)
