"""X-volution: a convolution branch and a pixel shift self-attention branch, added.

Paper: X-volution (arXiv 2106.02253), Fig. 1, Eq. 8 and 6.1.2. Our reading where it is silent: the branches are added as
they leave their batch norms, one for each branch (the one of the attention branch is that of PSSA), and nothing weighs
them. `multi_convolution.py` and `pssa.py` tell how the branches are read.

Cost: the sum of its branches; at the default 34 C_in C_out multiplications per position for the convolutions, two to
three C_in C_out for the projections, and the taps.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lightning_xvol.operators.base import Operator
from lightning_xvol.operators.multi_convolution import MultiConvolution
from lightning_xvol.operators.pssa import PSSA


class XVolution(Operator):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + PSSA(x)`, K = `kernel_size`, D = `dilated_kernel_size`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. PSSA ends in the batch norm of its branch.
    With `dilated_kernel_size=None` the convolution branch is the KxK convolution alone. The other options are those
    of `PSSA`, whose docstring tells how they interact.

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
        form: str = "dot",
        shift_distances: Sequence[int] = (1, 3, 5),
        num_heads: int | None = None,
        head_channels: int | None = None,
        normalize: bool | None = None,
        position_encoding: bool = False,
        centre: bool = False,
        propagate: bool = False,
        frozen_query_key: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.convolution = MultiConvolution(
            in_channels,
            out_channels,
            stride=stride,
            kernel_size=kernel_size,
            dilated_kernel_size=dilated_kernel_size,
        )
        self.attention = PSSA(
            in_channels,
            out_channels,
            stride=stride,
            form=form,
            shift_distances=shift_distances,
            num_heads=num_heads,
            head_channels=head_channels,
            normalize=normalize,
            position_encoding=position_encoding,
            centre=centre,
            propagate=propagate,
            frozen_query_key=frozen_query_key,
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x) + self.attention(x)
        return y

    def macs(self, height: int, width: int) -> int:
        return self.convolution.macs(height, width) + self.attention.macs(height, width)
