"""AA-convolution: attention channels beside convolution channels.

Paper: Attention Augmented Convolutional Networks (arXiv 1904.09925), section 3; the row "AA-Convolution" of
X-volution's tables. We take from that paper:

* the ratios of the keys' and the values' channels to C_out, kappa = 0.2 and upsilon = 0.1,
* at least 20 key channels per head,
* the output projection,
* the concatenation, convolution first.

The batch norm that follows in that paper is the batch norm of the block here. We differ from the paper, or choose where
it is silent:

* The number of heads follows our rule for all operators, the largest divisor of C_out that is at most C_out // 64. The
  paper has 8 everywhere.
* Depths are rounded to whole channels per head. The paper does not say how.
* There is no bias anywhere, because a batch norm follows and our other attention has none. The paper's listing has
  biases.
* A stride subsamples the queries. The paper pools and interpolates the attention where maps are large.
* Relative positions are an option, as for every operator (`relative_positions.py`). The paper always has them.

Cost: `K^2 C_in (C_out - C_v)` multiplications per output position and the attention's, quadratic in the pixels
(`self_attention.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, conv_macs, initialise, same_memory_format
from lightning_xvol.operators.self_attention import SelfAttention
from lightning_xvol.operators.spatial import SpatialConv2d


class AAConvolution(Operator):
    """`y = concat(conv_KxK(x), W^o attention(x))`, K = `kernel_size`.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. Both ratios give channels that are rounded to
    the nearest multiple of `num_heads` that is not 0.

    Args:
        num_heads: the number of heads, which has to divide `out_channels`.
        key_ratio: kappa. Queries and keys have `key_ratio * C_out` channels.
        value_ratio: upsilon. `value_ratio * C_out` of the output channels come from the attention. With 1 there is no
            convolution.
        min_key_channels: the smallest number of channels per head of queries and keys.
        position_encoding, position_size: those of `SelfAttention`.

    Raises:
        UserError: for an even `kernel_size`, a ratio out of range, or arguments that `SelfAttention` refuses.

    Examples:
        >>> AAConvolution(16, 40, num_heads=2)(torch.randn(2, 16, 15, 9)).shape  # 36 of the convolution, 4 of attention
        torch.Size([2, 40, 15, 9])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        kernel_size: int = 3,
        num_heads: int | None = None,
        key_ratio: float = 0.2,
        value_ratio: float = 0.1,
        min_key_channels: int = 20,
        position_encoding: bool = False,
        position_size: int | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        size = checks.odd_kernel_size("kernel_size", kernel_size)
        heads = checks.head_count(num_heads, out_channels)
        least = checks.positive_int("min_key_channels", min_key_channels)
        key_channels = heads * max(least, round(checks.ratio("key_ratio", key_ratio) * out_channels / heads))
        value_channels = heads * max(1, round(checks.ratio("value_ratio", value_ratio, 1) * out_channels / heads))
        self.conv: SpatialConv2d | None = None
        if value_channels < out_channels:
            self.conv = SpatialConv2d(in_channels, out_channels - value_channels, size, stride)
            initialise(self.conv)
        self.attention = SelfAttention(
            in_channels,
            value_channels,
            stride=stride,
            num_heads=heads,
            key_channels=key_channels,
            output_projection=True,
            position_encoding=position_encoding,
            position_size=position_size,
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x)  # [B, C_v, H', W']
        if self.conv is not None:
            y = torch.cat([self.conv(x), y], 1)  # [B, C, H', W']
        return same_memory_format(y, x)

    def macs(self, height: int, width: int) -> int:
        convolution = 0 if self.conv is None else conv_macs(self.conv, height, width)
        return convolution + self.attention.macs(height, width)
