"""Involution: a kernel per position, generated from the pixel there and shared by the channels of a group.

Paper: Involution (arXiv 2103.06255), Algorithm 1; the row "Involution" of X-volution's tables. We take from the paper
and its code:

* the 7x7 window, 16 channels per group and the reduction 4,
* batch norm and ReLU between the two 1x1 convolutions that generate the kernel,
* a bias in the second of them only (the code; Algorithm 1 has one in both),
* He's initialisation,
* with a stride, the kernel of an output position comes from the average of the stride x stride block there.

Where paper and code are silent we choose:

* If C_in differs from C_out, a 1x1 convolution without bias maps the input. Kernels come from the input itself.
* The last block of an odd side is smaller, and its average is over the pixels in it.
* Where 16 does not divide C_out, the number of groups is the largest divisor of C_out that is at most C_out // 16.
* The bottleneck has at least one channel.

Involution has no position encoding: a kernel already has one weight per offset.

Cost: `C_in C_r + C_r K^2 G + K^2 C_out` multiplications per output position, with C_r = C_out / reduction and G groups,
and C_in C_out per input position where the two differ. Small maps are computed as matrix products
(`kernels/matrix.py`), larger ones tap by tap (`kernels/shifts`). No path unfolds K^2 copies of the input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_xvol import kernels
from lightning_xvol.kernels.spec import Window
from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, autocast_dtype, conv_macs, initialise, same_memory_format


class Involution(Operator):
    """`y_0 = sum_{j in KxK} w_j(x_0) [W x]_j`, `w(x_0) = W_1 ReLU(BN(W_0 x_0)) + b`, K = `kernel_size`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. W exists where C_in and C_out differ. W_0
    has max(1, C_out // reduction) output channels, W_1 has K^2 for each group.

    Args:
        group_channels: the channels of a group. None takes 16; where that does not divide C_out, the number of groups
            is the largest divisor of C_out that is at most max(1, C_out // 16).
        reduction: how many times fewer channels the bottleneck has that generates the kernels.

    Raises:
        UserError: for an even `kernel_size`, `group_channels` that do not divide `out_channels`, or channels or a
            stride that no operator takes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        kernel_size: int = 7,
        group_channels: int | None = None,
        reduction: int = 4,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.window = Window(checks.odd_kernel_size("kernel_size", kernel_size), self.stride)
        self.groups = checks.group_count(group_channels, out_channels)
        reduced = max(1, out_channels // checks.positive_int("reduction", reduction))
        self.initial: nn.Conv2d | None = None
        if in_channels != out_channels:
            self.initial = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.reduce = nn.Conv2d(in_channels, reduced, 1, bias=False)
        self.norm = nn.BatchNorm2d(reduced)
        self.span = nn.Conv2d(reduced, self.window.kernel_size**2 * self.groups, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He's initialisation of the two convolutions that generate kernels, as in the authors' code."""
        initialise(self.reduce)
        initialise(self.span)
        if self.span.bias is not None:  # it always has one; the types do not say so
            nn.init.zeros_(self.span.bias)

    def generate(self, x: Tensor) -> Tensor:
        """The kernels of all output positions, `[B, G, K^2, H', W']`."""
        pooled = x if self.stride == 1 else average_blocks(x)  # [B, C_in, H', W']
        kernel: Tensor = self.span(F.relu(self.norm(self.reduce(pooled))))  # [B, G K^2, H', W']
        return kernel.unflatten(1, (self.groups, -1))

    def forward(self, x: Tensor) -> Tensor:
        value = x if self.initial is None else self.initial(x)  # [B, C, H, W]
        y = kernels.involution(value, self.generate(x), self.window)
        return same_memory_format(y, x).to(autocast_dtype(x))

    def macs(self, height: int, width: int) -> int:
        rows, columns = self.output_size(height, width)
        initial = 0 if self.initial is None else conv_macs(self.initial, height, width)
        generation = conv_macs(self.reduce, rows, columns) + conv_macs(self.span, rows, columns)
        return initial + generation + self.window.kernel_size**2 * self.out_channels * rows * columns

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, kernel_size={self.window.kernel_size}, groups={self.groups}"


def average_blocks(x: Tensor) -> Tensor:
    """Means of the 2 x 2 blocks: `[B, C, ceil(H / 2), ceil(W / 2)]`. The last block of an odd side is smaller."""
    if torch.compiler.is_exporting():
        # An export with dynamic sizes cannot round sides up. Repeating the last row and column gives the same means.
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2)
    return F.avg_pool2d(x, 2, ceil_mode=True)
