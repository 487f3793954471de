"""Involution as a term of Eq. 9. Its weights depend only on x_0, at stride 2 on the block of x_0.

At an output position `w^A_j = diag(s a_j) W`. a_j is generated from x_0 and shared by the channels of a group. W is the
1x1 convolution of the values, or the identity. The inner batch norm folds into the generator. The scale s of an outer
batch norm folds into W. Without W it stays a vector, since a generated weight serves a whole group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol import kernels
from lightning_xvol.fusion.static import Offset, rows
from lightning_xvol.fusion.term import Position, Tensors, Term
from lightning_xvol.kernels.spec import Window
from lightning_xvol.operators.base import same_memory_format
from lightning_xvol.operators.involution import average_blocks


@dataclass(frozen=True)
class InvolutionTerm(Term):
    """Its tensors: `reduce`, `reduce_bias`, `span`, `span_bias` of the generator, and `initial` (W) or `scale` (s)."""

    window: Window
    groups: int

    def __call__(self, x: Tensor, stacked: Tensors) -> Tensor:
        value = F.conv2d(x, stacked["initial"]) if "initial" in stacked else x  # [B, C, H, W]
        y = same_memory_format(kernels.involution(value, self._generate(x, stacked), self.window), x)
        return y * stacked["scale"][:, None, None] if "scale" in stacked else y

    def _generate(self, x: Tensor, tensors: Tensors) -> Tensor:
        """`[B, G, K^2, H', W']`."""
        pooled = x if self.window.stride == 1 else average_blocks(x)
        reduced = F.relu(F.conv2d(pooled, tensors["reduce"], tensors["reduce_bias"]))
        return F.conv2d(reduced, tensors["span"], tensors["span_bias"]).unflatten(1, (self.groups, -1))

    def macs(self, height: int, width: int, stacked: Tensors) -> int:
        positions = math.prod(self.window.output_size(height, width))
        values = height * width * stacked["initial"].numel() if "initial" in stacked else 0
        generation = positions * (stacked["reduce"].numel() + stacked["span"].numel())
        channels = len(stacked["initial"]) if "initial" in stacked else stacked["reduce"].shape[1]
        return values + generation + positions * channels * len(self.window.offsets)

    def scaled(self, tensors: Tensors, scale: Tensor) -> dict[str, Tensor]:
        if "initial" in tensors:
            return {**tensors, "initial": rows(tensors["initial"], scale)}
        return {**tensors, "scale": tensors["scale"] * scale if "scale" in tensors else scale}

    def offsets(self, size: tuple[int, int] | None = None, position: Position | None = None) -> tuple[Offset, ...]:
        return self.window.offsets

    def kernel(self, image: Tensor, position: Position, tensors: Tensors) -> Tensor:
        generated = self._generate(image[None], tensors)[0, :, :, position[0], position[1]]  # [G, T]
        matrix = tensors["initial"].flatten(1) if "initial" in tensors else torch.eye(len(image)).to(image)  # [C, I]
        matrix = rows(matrix, tensors["scale"]) if "scale" in tensors else matrix
        return generated.repeat_interleave(len(matrix) // self.groups, 0)[:, None] * matrix[:, :, None]
