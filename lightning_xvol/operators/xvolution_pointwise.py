"""X-volution whose query-key product is replaced by 1x1 convolutions with as many parameters.

Not in the paper: a control. The static control has no query and no key, so it is smaller than X-volution. This operator
has those parameters again, in a hidden layer that sees one position at a time and has no product.

Cost: that of the static X-volution and about 2 C_in C_out multiplications per position.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator
from lightning_xvol.operators.hidden import Hidden, parameters, width_for
from lightning_xvol.operators.xvolution import XVolution


class XVolutionPointwise(Operator):
    """`y = BN(conv branch) + BN(sum_j w_j S_j v) + BN(W' ReLU(BN(W x)))`, with as many parameters as X-volution.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. The first two terms are `XVolution` with
    `form="static"`. The number of rows of W brings the number of parameters nearest to that of `XVolution` with
    `form="dot"` and the same options: within 0.5 % at 16 channels, nearer at more.

    Args:
        options: options of `XVolution` other than `form`: `kernel_size`, `dilated_kernel_size`, `num_heads`.

    Raises:
        UserError: for options that X-volution refuses, or channels or a stride that no operator takes.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, **options: Any) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        checks.option_names(type(self), options)
        dot = partial(XVolution, in_channels, out_channels, stride=stride, form="dot", **options)
        static = partial(dot, form="static")
        self.xvolution = static()
        missing = parameters(dot) - parameters(static) - 2 * out_channels
        width = width_for(missing, in_channels, out_channels, kernel_size=1)
        self.pointwise = Hidden(in_channels, out_channels, width, 1, stride)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.xvolution(x) + self.norm(self.pointwise(x))
        return y

    def macs(self, height: int, width: int) -> int:
        return self.xvolution.macs(height, width) + self.pointwise.hidden_macs(height, width)
