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

from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator
from lightning_xvol.operators.multi_convolution import MultiConvolution
from lightning_xvol.operators.pssa import PSSA


class TwoBranches(Operator):
    """The convolution branch of X-volution plus a second branch.

    `y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + second(x)`, K = `kernel_size`, D = `dilated_kernel_size`.
    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. A subclass says what the second branch is
    made of, what it computes and what it costs.

    Args:
        kernel_size, dilated_kernel_size: those of `MultiConvolution`. With `dilated_kernel_size=None` the convolution
            branch is the KxK convolution alone.
        second: the options of the second branch.

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
        **second: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        checks.option_names(type(self), second)
        self.convolution = MultiConvolution(
            in_channels, out_channels, stride=stride, kernel_size=kernel_size, dilated_kernel_size=dilated_kernel_size
        )
        self.build_second(**second)

    @abstractmethod
    def build_second(self, *args: Any, **options: Any) -> None:
        """Make the modules of the second branch, after those of the convolution branch."""

    @abstractmethod
    def second(self, x: Tensor) -> Tensor:
        """The second branch, which ends in its own batch norm: `[B, C_out, H', W']`."""

    @abstractmethod
    def second_macs(self, height: int, width: int) -> int:
        """Multiplications of the second branch, counted as `macs` counts them."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convolution(x) + self.second(x)
        return y

    def macs(self, height: int, width: int) -> int:
        return self.convolution.macs(height, width) + self.second_macs(height, width)


class XVolution(TwoBranches):
    """`y = BN(conv_KxK(x) + conv_DxD,dilation 2(x)) + PSSA(x)`, K = `kernel_size`, D = `dilated_kernel_size`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. PSSA ends in the batch norm of its branch.
    The options are those of `TwoBranches` and of PSSA (`lightning_xvol.config.pssa_options.PSSAOptions`).

    Raises:
        UserError: where a branch refuses its arguments, or for an unknown option.
    """

    def build_second(self, **pssa: Any) -> None:
        self.attention = PSSA(self.in_channels, self.out_channels, stride=self.stride, **pssa)

    def second(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x)
        return y

    def second_macs(self, height: int, width: int) -> int:
        return self.attention.macs(height, width)
