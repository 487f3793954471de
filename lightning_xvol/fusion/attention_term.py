"""Global self-attention as a term of Eq. 9. Its taps are the whole map, and every weight depends on the whole map.

At an output position `w^A_i = diag(a_i) W^v`, or `W^o diag(a_i) W^v` with an output projection. a_i is the softmax
weight of position i, one number for all channels of a head. Relative logits stay as they are. Without softmax a_i is a
product divided by N and may have either sign.

Legend: C_k, C_v channels of the keys and the values, h heads, d = C_k / h, M queries, N positions, I input channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol import kernels
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.static import Offset, Static, rows
from lightning_xvol.fusion.term import Position, Projections, Tensors, Term
from lightning_xvol.kernels.spec import given
from lightning_xvol.operators.base import same_memory_format


@dataclass(frozen=True)
class AttentionTerm(Term):
    """Its tensors: `query`, `key`, `value`, and where they exist `output` and the relative `rows` and `columns`."""

    projections: Projections
    num_heads: int
    stride: int
    softmax: bool = True

    def stack(self, tensors: Tensors) -> dict[str, Tensor]:
        return self.projections.stack(tensors)

    def unstack(self, stacked: Tensors) -> dict[str, Tensor]:
        return self.projections.unstack(stacked)

    def __call__(self, x: Tensor, stacked: Tensors) -> Tensor:
        maps = [given(map_) for map_ in self.projections(x, stacked).values()]
        q, k, v = (self._heads(map_) for map_ in maps)
        grid = maps[0].shape[2], maps[0].shape[3]
        if self.softmax:
            y = kernels.self_attention(q, k, v, self._relative_logits(q, grid, (x.shape[2], x.shape[3]), stacked))
        else:
            y = kernels.linear_attention(q, k, v).to(q.dtype)
        y = same_memory_format(y.transpose(2, 3).flatten(1, 2).unflatten(2, grid), x)  # [B, C_v, H', W']
        return F.conv2d(y, stacked["output"]) if "output" in stacked else y

    def _heads(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, h, N, d]`."""
        return x.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3).contiguous()

    def _relative_logits(
        self, q: Tensor, grid: tuple[int, int], size: tuple[int, int], tensors: Tensors
    ) -> Tensor | None:
        if "rows" not in tensors:
            return None
        return kernels.relative_logits(q.unflatten(2, grid), tensors["rows"], tensors["columns"], size, self.stride)

    def macs(self, height: int, width: int, stacked: Tensors) -> int:
        channels = dict(self.projections.rows)
        queries = -(-height // self.stride) * -(-width // self.stride)
        attention = (channels["key"] + channels["value"]) * queries * height * width
        if not self.softmax:
            attention = channels["key"] * channels["value"] // self.num_heads * (queries + height * width)
        positions = channels["key"] * queries * (height + width) if "rows" in stacked else 0
        output = stacked["output"].numel() * queries if "output" in stacked else 0
        return self.projections.macs(height, width) + attention + positions + output

    def scaled(self, tensors: Tensors, scale: Tensor) -> dict[str, Tensor]:
        """The scale goes into the rows of W^o, or of W^v without W^o. Softmax mixes positions, not channels."""
        name = "output" if "output" in tensors else "value"
        return {**tensors, name: rows(tensors[name], scale)}

    def offsets(self, size: tuple[int, int] | None = None, position: Position | None = None) -> tuple[Offset, ...]:
        if size is None or position is None:
            raise UserError("self-attention reaches over the whole map: call offsets(x, position), as you call kernel")
        row, column = (self.stride * index for index in position)
        return tuple((i - row, j - column) for i in range(size[0]) for j in range(size[1]))

    def kernel(self, image: Tensor, position: Position, tensors: Tensors) -> Tensor:
        size = image.shape[1], image.shape[2]
        grid = -(-size[0] // self.stride), -(-size[1] // self.stride)
        q, k = (self._heads(F.conv2d(image[None], tensors[name])) for name in ("query", "key"))  # [1, h, N, d]
        q = q.unflatten(2, size)[:, :, :: self.stride, :: self.stride].flatten(2, 3)  # [1, h, M, d]
        if self.softmax:
            logits = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
            relative = self._relative_logits(q, grid, size, tensors)
            weights = (logits if relative is None else logits + relative).softmax(-1)  # [1, h, M, N]
        else:
            weights = kernels.linear_attention(q, k, torch.eye(k.shape[2]).to(k).expand(1, self.num_heads, -1, -1))
        a = weights[0, :, position[0] * grid[1] + position[1]]  # [h, N]
        value = tensors["value"].flatten(1)  # [C_v, I]
        a = a.repeat_interleave(len(value) // self.num_heads, 0)  # [C_v, N]
        if "output" in tensors:
            return torch.einsum("oc,cn,ci->oin", tensors["output"].flatten(1), a, value)
        return a[:, None] * value[:, :, None]


@dataclass(frozen=True)
class AugmentedTerm(AttentionTerm):
    """AA-convolution. Its first channels come from a convolution, whose kernel is the tensor `convolution`.

    This kernel is not one of the module's kernels w^c, since these give all channels.
    """

    def __call__(self, x: Tensor, stacked: Tensors) -> Tensor:
        weight = stacked["convolution"]
        y = F.conv2d(x, weight, None, self.stride, weight.shape[-1] // 2)
        return same_memory_format(torch.cat([y, super().__call__(x, stacked)], 1), x)

    def macs(self, height: int, width: int, stacked: Tensors) -> int:
        positions = -(-height // self.stride) * -(-width // self.stride)
        return super().macs(height, width, stacked) + positions * stacked["convolution"].numel()

    def scaled(self, tensors: Tensors, scale: Tensor) -> dict[str, Tensor]:
        convolution = tensors["convolution"]
        above, below = scale.split([len(convolution), len(scale) - len(convolution)])
        return {**super().scaled(tensors, below), "convolution": rows(convolution, above)}

    def kernel(self, image: Tensor, position: Position, tensors: Tensors) -> Tensor:
        """Taps of the convolution outside the map are left out: x is zero there, and the attention has no such taps."""
        static = Static(tensors["convolution"])
        offsets = self.offsets((image.shape[1], image.shape[2]), position)
        above = image.new_zeros(*static.weight.shape[:2], len(offsets))
        for tap, offset in enumerate(static.offsets):
            if offset in offsets:
                above[:, :, offsets.index(offset)] = static.weight.flatten(2)[:, :, tap]
        return torch.cat([above, super().kernel(image, position, tensors)])
