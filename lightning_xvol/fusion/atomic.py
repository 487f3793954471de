"""The atomic X-volution: one dynamic convolution.

Paper: X-volution (arXiv 2106.02253), 3.3, Eq. 8-9. The abstract calls the result "a single standard convolution". It is
not one: w^A depends on the input, so the operator is not even additive. Eq. 9 is exact with w^A taken at every
position, and `AtomicXVolution.kernel` gives these weights. The weights of a whole map are never stored, since they
would take `C_out C_in T` values per pixel. `forward` computes the sum in the fast form of the operator.

Legend: B batch, C channels, H W input, T taps.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_xvol.errors import UserError
from lightning_xvol.fusion.parts import Parts, exact
from lightning_xvol.fusion.static import Offset, Static
from lightning_xvol.fusion.term import Position
from lightning_xvol.operators.base import FUSED, Operator, autocast_dtype
from lightning_xvol.operators.marks import write_mark


class AtomicXVolution(Operator):
    """`y_0 = sum_i (w^A_i(x_0, x_i) + w^c_i) x_i + b`, made by `fuse`. It has no batch norm, branches or children.

    `[B, C_in, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`. Its parameters:

    * `static_D` is w^c, one kernel for each dilation D that occurs. Self-attention has none.
    * The tensors of w^A have the same names as in the operator; the projections on one grid are stacked as
      `projection`. A static operator has none.
    * `bias` is b.

    Its state dict does not load into the operator it was made from, nor the other way round. Both raise.
    """

    fused: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, parts: Parts, *, stride: int = 1, block_norm: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride)
        self.term = parts.term
        self.dilations = tuple(static.dilation for static in parts.statics)
        tensors = {f"static_{static.dilation}": static.weight for static in parts.statics}
        stacked = {} if parts.term is None else parts.term.stack(parts.tensors)
        self.term_names = tuple(stacked)
        for name, tensor in {**tensors, **stacked}.items():
            self.register_parameter(name, _parameter(tensor))
        self.bias = None if parts.bias is None else _parameter(parts.bias)
        self.fusion = 2 if block_norm else 1
        self.register_buffer(FUSED, torch.tensor(self.fusion))

    def reset_parameters(self) -> None:
        """Write the mark again (`operators/marks.py`). The weights of a fused operator come from training alone."""
        write_mark(self.fused, self.fusion)

    def _apply(self, *args: Any, **options: Any) -> AtomicXVolution:
        super()._apply(*args, **options)
        self.reset_parameters()
        return self

    def _save_to_state_dict(self, *args: Any) -> None:
        self.reset_parameters()
        super()._save_to_state_dict(*args)

    @property
    def block_norm(self) -> bool:
        """Whether the batch norm that followed the operator in its block is folded in too."""
        return self.fusion == 2

    def forward(self, x: Tensor) -> Tensor:
        maps = [] if self.term is None else [self.term(x, self._stacked())]
        bias = self.bias
        for static in self.statics():
            maps.append(F.conv2d(x, static.weight, bias, self.stride, static.steps[-1], static.dilation))
            bias = None  # it is added once
        y = maps[0]
        for term in maps[1:]:
            y = y + term
        y = y if bias is None else y + bias[:, None, None]
        return y.to(autocast_dtype(x))

    def statics(self) -> list[Static]:
        """The kernels w^c, one for each dilation."""
        return [Static(getattr(self, f"static_{dilation}"), dilation) for dilation in self.dilations]

    def _stacked(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.term_names}

    def parts(self) -> Parts:
        """The parts that this module was made of, in float64."""
        tensors = {} if self.term is None else self.term.unstack(self._stacked())
        return Parts(
            statics=tuple(Static(exact(static.weight), static.dilation) for static in self.statics()),
            term=self.term,
            tensors={name: exact(tensor) for name, tensor in tensors.items()},
            bias=None if self.bias is None else exact(self.bias),
        )

    def offsets(self, x: Tensor | None = None, position: Position | None = None) -> tuple[Offset, ...]:
        """The taps as (rows down, columns right) of x_0, each once, row-major.

        The taps of self-attention are the whole map, seen from a position. So it needs the arguments of `kernel`.
        """
        taps = {offset for static in self.statics() for offset in static.offsets}
        if self.term is not None:
            size = None if x is None else (x.shape[-2], x.shape[-1])
            taps |= set(self.term.offsets(size, position))
        return tuple(sorted(taps))

    def kernel(self, x: Tensor, position: Position) -> tuple[Tensor, Tensor]:
        """The weight `w^A + w^c`, `[C_out, C_in, T]`, and b, `[C_out]`, at one output position of one image.

        `y[:, row, column] = sum_t weight[:, :, t] x[:, stride row + down_t, stride column + right_t] + b` over
        `offsets`, where x is zero outside the map. Gradients flow to x and the parameters.

        Args:
            x: `[C_in, H, W]` or `[1, C_in, H, W]`, in the dtype of the parameters.
            position: row and column of the output.

        Raises:
            UserError: for more than one image, or a position outside the output.
        """
        image = x[0] if x.dim() == 4 and len(x) == 1 else x
        if image.dim() != 3 or len(image) != self.in_channels:
            raise UserError(f"kernel takes one image [{self.in_channels}, H, W], got {tuple(x.shape)}")
        rows, columns = self.output_size(*image.shape[1:])
        if not (0 <= position[0] < rows and 0 <= position[1] < columns):
            raise UserError(f"position={tuple(position)} is outside the output of {rows} x {columns}")
        offsets = self.offsets(image, position)
        tap = {offset: index for index, offset in enumerate(offsets)}
        weight = image.new_zeros(self.out_channels, self.in_channels, len(offsets))
        for static in self.statics():
            weight[:, :, [tap[offset] for offset in static.offsets]] += static.weight.flatten(2)
        if self.term is not None:
            at = [tap[offset] for offset in self.term.offsets((image.shape[1], image.shape[2]), position)]
            weight[:, :, at] += self.term.kernel(image, position, self.term.unstack(self._stacked()))
        return weight, image.new_zeros(self.out_channels) if self.bias is None else self.bias

    def macs(self, height: int, width: int) -> int:
        rows, columns = self.output_size(height, width)
        kernels = sum(rows * columns * static.weight.numel() for static in self.statics())
        return kernels + (0 if self.term is None else self.term.macs(height, width, self._stacked()))

    def train(self, mode: bool = True) -> AtomicXVolution:
        if mode:
            warnings.warn(
                "a fused operator has no batch norm left and trains badly: train the model before fuse, then fuse that",
                stacklevel=2,
            )
        super().train(mode)
        return self

    def extra_repr(self) -> str:
        statics = ", ".join(f"{len(s.steps)}x{len(s.steps)} of dilation {s.dilation}" for s in self.statics())
        return f"{super().extra_repr()}, static=({statics}), term={self.term}, block_norm={self.block_norm}"


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach().clone(), requires_grad=tensor.requires_grad)
