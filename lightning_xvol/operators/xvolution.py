"""X-volution: a convolution branch and a pixel shift self-attention (PSSA) branch, added.

Paper: X-volution (arXiv 2106.02253), Fig. 1, Eq. 8 and 6.1.2. Where the paper is silent we choose:

* Each branch ends in its own batch norm. The batch norm of the attention branch is the one inside PSSA.
* Nothing weighs the branches.

`multi_convolution.py` and `pssa.py` describe the two branches.

Cost: the sum of both branches. At the default these are 34 C_in C_out multiplications per position for the
convolutions, two to three C_in C_out for the projections, and the taps.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor

from lightning_xvol.operators.base import Operator
from lightning_xvol.operators.multi_convolution import MultiConvolution
from lightning_xvol.operators.pssa import PSSA


class TwoBranches(Operator):
    """The convolution branch of X-volution, `MultiConvolution`, plus a second branch on the same input.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. A subclass builds the second branch after
    `super().__init__` and computes it in `second_branch`.

    Args:
        convolution: `kernel_size` and `dilated_kernel_size` of `MultiConvolution`.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, **convolution: Any) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.convolution = MultiConvolution(in_channels, out_channels, stride=stride, **convolution)

    @abstractmethod
    def second_branch(self, x: Tensor) -> Tensor:
        """What is added to the convolution branch, behind its own batch norm."""

    @abstractmethod
    def second_macs(self, height: int, width: int) -> int:
        """Multiplications of the second branch, counted as `macs` counts them."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x) + self.second_branch(x)
        return y

    def macs(self, height: int, width: int) -> int:
        return self.convolution.macs(height, width) + self.second_macs(height, width)


class XVolution(TwoBranches):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + PSSA(x)`, K = `kernel_size`, D = `dilated_kernel_size`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. PSSA ends in the batch norm of its branch.

    Args:
        kernel_size, dilated_kernel_size: those of `MultiConvolution`. With `dilated_kernel_size=None` the convolution
            branch is the KxK convolution alone.
        pssa: the options of PSSA, `lightning_xvol.config.pssa_options.PSSAOptions`.

    Raises:
        UserError: where a branch refuses its arguments, or for an unknown option.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        kernel_size: int = 3,
        dilated_kernel_size: int | None = 5,
        **pssa: Any,
    ) -> None:
        super().__init__(
            in_channels, out_channels, stride=stride, kernel_size=kernel_size, dilated_kernel_size=dilated_kernel_size
        )
        self.attention = PSSA(in_channels, out_channels, stride=stride, **pssa)

    def second_branch(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x)
        return y

    def second_macs(self, height: int, width: int) -> int:
        return self.attention.macs(height, width)
