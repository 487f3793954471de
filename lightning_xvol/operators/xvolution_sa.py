"""X-volution(SA): a convolution branch and a global self-attention branch, added.

Paper: X-volution (arXiv 2106.02253), Tables 2 and 3. It says of this operator only that self-attention stands in PSSA's
place. Our reading: the branch ends in a batch norm of its own, as X-volution's does, and nothing weighs the branches.
`multi_convolution.py` and `self_attention.py` tell how the branches are read.

Cost: the sum of its branches, quadratic in the number of pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from lightning_xvol.operators.base import Operator
from lightning_xvol.operators.multi_convolution import MultiConvolution
from lightning_xvol.operators.self_attention import SelfAttention


class XVolutionSA(Operator):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + BN(self-attention(x))`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. K is `kernel_size`, D `dilated_kernel_size`;
    with `dilated_kernel_size=None` the convolution branch is the KxK convolution alone. The other options are those of
    `SelfAttention`, whose docstring tells how they interact.

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
        num_heads: int | None = None,
        key_channels: int | None = None,
        output_projection: bool = False,
        position_encoding: bool = False,
        position_size: int | None = None,
        softmax: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.convolution = MultiConvolution(
            in_channels,
            out_channels,
            stride=stride,
            kernel_size=kernel_size,
            dilated_kernel_size=dilated_kernel_size,
        )
        self.attention = SelfAttention(
            in_channels,
            out_channels,
            stride=stride,
            num_heads=num_heads,
            key_channels=key_channels,
            output_projection=output_projection,
            position_encoding=position_encoding,
            position_size=position_size,
            softmax=softmax,
        )
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x) + self.norm(self.attention(x))
        return y

    def macs(self, height: int, width: int) -> int:
        return self.convolution.macs(height, width) + self.attention.macs(height, width)
