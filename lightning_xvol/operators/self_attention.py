"""Self-attention: global multi-head dot-product attention over all positions of the map.

Paper: X-volution (arXiv 2106.02253), Eq. 2, the row "Self-Attention" of its tables. Our reading where it is silent:
logits are divided by sqrt(d) and there are heads, as in "Attention Is All You Need" (arXiv 1706.03762), which it
cites; query, key and value are 1x1 convolutions without bias (softmax does not see a bias of the key, which would get
no gradient); there is no output projection unless asked for. No position enters: at stride 1 the operator commutes
with every permutation of the pixels.

Cost: `C_in C_out (M + 2 N) + 2 C_out M N` multiplications for M query and N key positions, quadratic in the pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from lightning_xvol import kernels
from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, conv_macs, same_memory_format


class SelfAttention(Operator):
    """`y_0 = [W^o] sum_i softmax_i(<q_0, k_i>_head / sqrt(d)) v_i`, i over the whole map.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. W^o comes with `output_projection`; with
    C_in = C_out and stride 1 it makes the operator equal to `nn.MultiheadAttention(C_out, num_heads, bias=False)`. A
    stride subsamples the query positions, keys and values keep the input grid. `num_heads=None` takes the largest
    divisor of C_out not above max(1, C_out // 64).

    Raises:
        UserError: for `num_heads` that do not divide `out_channels`, or channels or a stride that no operator takes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        num_heads: int | None = None,
        output_projection: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.num_heads = checks.head_count(num_heads, out_channels)
        self.query = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.key = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.value = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.output: nn.Conv2d | None = None
        if checks.boolean("output_projection", output_projection):
            self.output = nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x)  # [B, C, H', W']
        y = kernels.self_attention(*(self._heads(z) for z in (query, self.key(x), self.value(x))))  # [B, h, M, d]
        y = y.transpose(2, 3).reshape(query.shape)  # [B, C, H', W']
        y = same_memory_format(y, x)
        return y if self.output is None else self.output(y)

    def _heads(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, h, N, d]`."""
        return x.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3).contiguous()

    def macs(self, height: int, width: int) -> int:
        rows, columns = self.output_size(height, width)
        projections = sum(conv_macs(conv, height, width) for conv in (self.query, self.key, self.value))
        attention = 2 * self.out_channels * rows * columns * height * width
        output = 0 if self.output is None else conv_macs(self.output, rows, columns)
        return projections + attention + output

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_heads={self.num_heads}"
