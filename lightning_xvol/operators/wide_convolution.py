"""Wide convolution: a convolution with a hidden layer that gives it as many parameters as X-volution has.

Not in the paper: a control. X-volution has four times the parameters of a 3x3 convolution, or a third more without its
dilated convolution. Its gain could come from the parameters alone.

Cost: one multiplication per output position for every parameter except those of the batch norm.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator
from lightning_xvol.operators.hidden import Hidden, parameters, width_for
from lightning_xvol.operators.xvolution import XVolution


class WideConvolution(Operator):
    """`y = W' ReLU(BN(conv_KxK(x)))`, K = `kernel_size`, with as many parameters as X-volution.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. The number of channels of the KxK convolution
    brings the number of parameters nearest to that of `XVolution` with the same channels and options. One channel more
    or less is 2.5 % of the parameters at 16 channels and 0.2 % at 256, so the two differ by at most half of that.

    Args:
        kernel_size: K, here and in the `XVolution` whose parameters are counted.
        others: further options of that `XVolution`, for example `dilated_kernel_size` and `num_heads`. They change
            only its number of parameters.

    Raises:
        UserError: for options that X-volution refuses, or channels or a stride that no operator takes.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, kernel_size: int = 3, **others: Any
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        checks.option_names(type(self), others)
        checks.odd_kernel_size("kernel_size", kernel_size)
        xvolution = partial(XVolution, in_channels, out_channels, kernel_size=kernel_size, **others)
        width = width_for(parameters(xvolution), in_channels, out_channels, kernel_size)
        self.hidden = Hidden(in_channels, out_channels, width, kernel_size, stride)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.hidden(x)
        return y

    def macs(self, height: int, width: int) -> int:
        self.output_size(height, width)
        return self.hidden.hidden_macs(height, width)
