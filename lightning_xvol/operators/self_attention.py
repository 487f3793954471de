"""Self-attention: global multi-head dot-product attention over all positions of the map.

Paper: X-volution (arXiv 2106.02253), Eq. 2, the row "Self-Attention" of its tables. Where it is silent we choose:

* Logits are divided by sqrt(d) and there are heads, as in "Attention Is All You Need" (arXiv 1706.03762), which the
  paper cites.
* Query, key and value are 1x1 convolutions without bias. A bias of the key would get no gradient, since it does not
  change the softmax.
* Output projection and positions are options, off by default. `relative_positions.py` describes the positions. Without
  them, at stride 1, the operator commutes with every permutation of the pixels.

`softmax=False` is linear attention: the sum of Eq. 3 over the whole map, which PSSA is meant to approximate. Queries
and keys are normalised as in PSSA.

Cost: `C_in (C_k (M + N) + C_out N) + (C_k + C_out) M N` multiplications for M query and N key positions and C_k
channels of query and key. This is quadratic in the pixels. Positions add C_k M (H + W), and h M N logits in memory.
Without softmax the last term is C_k C_out (M + N) / h, which is linear in the pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from lightning_xvol import kernels
from lightning_xvol.errors import UserError
from lightning_xvol.operators import checks
from lightning_xvol.operators.base import Operator, conv_macs, same_memory_format
from lightning_xvol.operators.relative_positions import relative_positions


class SelfAttention(Operator):
    """`y_0 = [W^o] sum_i softmax_i(<q_0, k_i [+ r_(i - 0)]>_head / sqrt(d)) v_i`, i over the whole map.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`.

    Args:
        stride: subsamples the query positions; keys and values keep the input grid.
        num_heads: the number of heads. None takes the largest divisor of C_out that is at most max(1, C_out // 64).
        key_channels: the channels of query and key over all heads, so d = key_channels / num_heads. None takes C_out.
        output_projection: whether to add W^o. With C_in = C_out and stride 1 the operator then equals
            `nn.MultiheadAttention(C_out, num_heads, bias=False)`.
        position_encoding: whether to add r, one vector per row offset and one per column offset, which start at 0.
        position_size: the side of the maps that the tables of r fit. None takes 32. Larger maps stretch the tables.
        softmax: False takes `<q^_0, k^_i>_head / sqrt(d) / N` for the weight, `x^ = sqrt(d) x / max(|x|_head, 1e-3)`.
            Then there is no `position_encoding`: a bias per pair of positions would make the cost quadratic again.

    Raises:
        UserError: for `num_heads` that do not divide `out_channels` and `key_channels`, `position_size` without
            `position_encoding`, `position_encoding` without `softmax`, or channels or a stride that no operator takes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int = 1,
        num_heads: int | None = None,
        key_channels: int | None = None,
        output_projection: bool = False,
        position_encoding: bool = False,
        position_size: int | None = None,
        softmax: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.softmax = checks.boolean("softmax", softmax)
        self.num_heads = checks.head_count(num_heads, out_channels)
        self.key_channels = out_channels if key_channels is None else checks.positive_int("key_channels", key_channels)
        checks.divisor("num_heads", self.num_heads, "key_channels", self.key_channels)
        self.query = nn.Conv2d(in_channels, self.key_channels, 1, stride, bias=False)
        self.key = nn.Conv2d(in_channels, self.key_channels, 1, bias=False)
        self.value = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        head_channels = self.key_channels // self.num_heads
        self.positions = relative_positions(position_encoding, position_size, head_channels)
        if self.positions is not None and not self.softmax:
            raise UserError("position_encoding=True needs softmax=True: linear attention has no logits to add it to")
        self.output: nn.Conv2d | None = None
        if checks.boolean("output_projection", output_projection):
            self.output = nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x)  # [B, C_k, H', W']
        q, k, v = (self._heads(z) for z in (query, self.key(x), self.value(x)))  # [B, h, M or N, d]
        bias = None
        if self.positions is not None:
            grid = q.unflatten(2, query.shape[2:])  # [B, h, H', W', d]
            bias = self.positions(grid, (x.shape[2], x.shape[3]), self.stride)  # [B, h, M, N]
        linear = kernels.linear_attention
        y = kernels.self_attention(q, k, v, bias) if self.softmax else linear(q, k, v).to(v.dtype)  # [B, h, M, d_v]
        y = y.transpose(2, 3).flatten(1, 2).unflatten(2, query.shape[2:])  # [B, C, H', W']
        y = same_memory_format(y, x)
        return y if self.output is None else self.output(y)

    def _heads(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, h, N, d]`."""
        return x.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3).contiguous()

    def macs(self, height: int, width: int) -> int:
        rows, columns = self.output_size(height, width)
        projections = sum(conv_macs(conv, height, width) for conv in (self.query, self.key, self.value))
        attention = (self.key_channels + self.out_channels) * rows * columns * height * width
        if not self.softmax:
            attention = self.key_channels * self.out_channels // self.num_heads * (rows * columns + height * width)
        positions = 0 if self.positions is None else self.key_channels * rows * columns * (height + width)
        output = 0 if self.output is None else conv_macs(self.output, rows, columns)
        return projections + attention + positions + output

    def extra_repr(self) -> str:
        keys = "" if self.key_channels == self.out_channels else f", key_channels={self.key_channels}"
        softmax = "" if self.softmax else ", softmax=False"
        return f"{super().extra_repr()}, num_heads={self.num_heads}{keys}{softmax}"
