"""Wide convolution: a convolution with a hidden layer that gives it the parameters of X-volution.

Not in the paper: a control. X-volution has four times the parameters of a 3x3 convolution, or a third more without its
dilated convolution, and more parameters could be all that it gains by.

Cost: a multiplication per output position for every parameter but those of the batch norm.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator
from lightning_xvol.operators.hidden import Hidden, parameters, width_for
from lightning_xvol.operators.xvolution import XVolution


class WideConvolution(Operator):
    """`y = W' ReLU(BN(conv_KxK(x)))`, K = `kernel_size`, with as many parameters as X-volution.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. The convolution has as many channels as bring
    the number of parameters nearest to that of `XVolution` with the same channels and options, of which
    `dilated_kernel_size` and `num_heads` do nothing else here. One channel more or less is 2.5 % of the parameters at
    16 channels and 0.2 % at 256, so half of that is the most by which they differ.

    Raises:
        UserError: for options that X-volution refuses, or channels or a stride that no operator takes.
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
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        checks.odd_kernel_size("kernel_size", kernel_size)
        equal = partial(
            XVolution,
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            dilated_kernel_size=dilated_kernel_size,
            num_heads=num_heads,
        )
        width = width_for(parameters(equal), in_channels, out_channels, kernel_size)
        self.hidden = Hidden(in_channels, out_channels, width, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.hidden(x)
        return y

    def macs(self, height: int, width: int) -> int:
        self.output_size(height, width)
        return self.hidden.hidden_macs(height, width)
