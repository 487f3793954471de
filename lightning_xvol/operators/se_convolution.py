"""SE-convolution: a convolution whose channels are weighted by a summary of the whole map.

Source: Squeeze-and-Excitation Networks (arXiv 1709.01507), Eq. 2-4. Not in X-volution's paper: a control with attention
over channels and none over space. We choose:

* It weights the output of the convolution, before the batch norm of the block. The source weights the output of a
  whole block.
* W_1 and W_2 have no biases, as in Eq. 3 of the source, and the reduction is 16, as there.
* With few hidden units all of them may start below 0 for every image, and then W_1 and W_2 never get a gradient. The
  start of W_1 excludes this (`squeeze_start`).

Cost: K^2 C_in C_out + C_out multiplications per output position, and 2 C_out^2 / reduction for an image.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, conv_macs, initialise
from lightning_xvol.operators.spatial import SpatialConv2d

FEW = 4  # hidden units that a random start may well leave dead

log = logging.getLogger(__name__)


class SEConvolution(Operator):
    """`y = sigmoid(W_2 ReLU(W_1 mean(z))) * z`, `z = conv_KxK(x)`, K = `kernel_size`, the mean over all positions.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. W_1 has C_out / `reduction` rows, at least
    one.

    Args:
        kernel_size: K.
        reduction: how many times fewer rows W_1 has than C_out.
        squeeze_start: how W_1 starts. "pairs" gives W_1 at least two rows, and each row of its second half is the
            negative of one in its first half: for every image with a mean that is not 0 at least one hidden unit is
            alive. "random" is PyTorch's own start, which runs had before this option; a warning is logged where W_1
            has fewer than 4 rows.

    Raises:
        UserError: for an even `kernel_size`, a `reduction` that is no positive integer, an unknown `squeeze_start`, or
            channels or a stride that no operator takes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        kernel_size: int = 3,
        reduction: int = 16,
        squeeze_start: str = "pairs",
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        size = checks.odd_kernel_size("kernel_size", kernel_size)
        pairs = checks.choice("squeeze_start", squeeze_start, ("random", "pairs")) == "pairs"
        hidden = max(2 if pairs else 1, out_channels // checks.positive_int("reduction", reduction))
        self.conv = SpatialConv2d(in_channels, out_channels, size, stride)
        self.squeeze = nn.Conv2d(out_channels, hidden, 1, bias=False)
        self.excite = nn.Conv2d(hidden, out_channels, 1, bias=False)
        initialise(self.conv)
        if hidden < FEW and not pairs:
            log.warning(
                "se_convolution with %d hidden units and squeeze_start='random' starts with all of them dead in about "
                "one of %d cases, and then its gate never learns; squeeze_start='pairs' cannot start dead",
                hidden,
                2**hidden,
            )
        if pairs:
            half = hidden // 2
            with torch.no_grad():
                self.squeeze.weight[half : 2 * half] = -self.squeeze.weight[:half]

    def forward(self, x: Tensor) -> Tensor:
        z = self.conv(x)  # [B, C, H', W']
        hidden = torch.relu(self.squeeze(z.mean((2, 3), keepdim=True)))  # [B, C / r, 1, 1]
        y: Tensor = torch.sigmoid(self.excite(hidden)) * z
        return y

    def macs(self, height: int, width: int) -> int:
        rows, columns = self.output_size(height, width)
        gate = conv_macs(self.squeeze, 1, 1) + conv_macs(self.excite, 1, 1)
        return conv_macs(self.conv, height, width) + gate + self.out_channels * rows * columns
