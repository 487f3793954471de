"""A depthwise kernel on a 1x1 projection as a term of Eq. 9.

It is static, but as a dense kernel of its size it would be slower. At every output position `w_j = diag(d_j) W` with
the depthwise weights d_j `[C]` of tap j.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.fusion.static import Offset, rows
from lightning_xvol.fusion.term import Position, Tensors, Term
from lightning_xvol.kernels.spec import Window


@dataclass(frozen=True)
class DepthwiseTerm(Term):
    """Its tensors: `pointwise` (W, `[C, I, 1, 1]`), `depthwise` (d, `[C, 1, S, S]`)."""

    window: Window

    def __call__(self, x: Tensor, stacked: Tensors) -> Tensor:
        depthwise, window = stacked["depthwise"], self.window
        value = F.conv2d(x, stacked["pointwise"])  # [B, C, H, W]
        return F.conv2d(value, depthwise, None, window.stride, window.reach, groups=len(depthwise))

    def macs(self, height: int, width: int, stacked: Tensors) -> int:
        rows, columns = self.window.output_size(height, width)
        return height * width * stacked["pointwise"].numel() + rows * columns * stacked["depthwise"].numel()

    def scaled(self, tensors: Tensors, scale: Tensor) -> dict[str, Tensor]:
        return {**tensors, "depthwise": rows(tensors["depthwise"], scale)}

    def offsets(self, size: tuple[int, int] | None = None, position: Position | None = None) -> tuple[Offset, ...]:
        return self.window.offsets

    def kernel(self, image: Tensor, position: Position, tensors: Tensors) -> Tensor:
        return tensors["depthwise"].flatten(2) * tensors["pointwise"].flatten(2)
