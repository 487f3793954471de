"""X-volution(Inv): a convolution branch and an involution branch, added.

Paper: X-volution (arXiv 2106.02253), Tables 2 and 3. It says only that involution takes the place of PSSA. We choose:

* The involution branch ends in its own batch norm, as in X-volution. Involution has another batch norm inside, where
  it generates its kernels.
* Nothing weighs the branches.

`multi_convolution.py` and `involution.py` describe the two branches.

Cost: the sum of both branches.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lightning_xvol.operators.involution import Involution
from lightning_xvol.operators.xvolution import TwoBranches


class XVolutionInv(TwoBranches):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + BN(involution(x))`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`, K = `kernel_size`, D = `dilated_kernel_size`.
    The options are those of `TwoBranches` and of `Involution`, whose `kernel_size` is `involution_kernel_size` here.

    Raises:
        UserError: where a branch refuses its arguments.
    """

    def build_second(self, *, involution_kernel_size: int = 7, **involution: Any) -> None:
        self.attention = Involution(
            self.in_channels, self.out_channels, stride=self.stride, kernel_size=involution_kernel_size, **involution
        )
        self.norm = nn.BatchNorm2d(self.out_channels)

    def second(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.attention(x))
        return y

    def second_macs(self, height: int, width: int) -> int:
        return self.attention.macs(height, width)
