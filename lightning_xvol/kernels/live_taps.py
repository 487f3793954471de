"""A convolution whose weight gradient is one matrix product per live tap.

A tap is live if it leads inside the map from some position. On a map that is smaller than the kernel many taps lead
outside from most positions. Libraries multiply those zeros too, or lose their fast form. Here the gradient of tap j is
`sum_i grad_i x_(i + j)^T` over the positions i whose tap lies inside the map, and zero where there are none.

Forward and the gradient of the input are PyTorch's own, to the last bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.kernels.plain import differentiable
from lightning_xvol.kernels.shifts.blocks import along
from lightning_xvol.kernels.shifts.recompute import Recomputed
from lightning_xvol.kernels.spec import no_autocast


class Grid(NamedTuple):
    """Stride, padding and dilation of a convolution, each for rows and columns alike."""

    stride: int
    padding: int
    dilation: int


def convolution(x: Tensor, weight: Tensor, grid: Grid) -> Tensor:
    """`F.conv2d(x, weight)` with zero padding: `[B, C_in, H, W]` and `[C_out, C_in, K, K]` to `[B, C_out, H', W']`."""
    y: Tensor = LiveTapConvolution.apply(x, weight, grid)
    return y


def _plain(x: Tensor, weight: Tensor, grid: Grid) -> Tensor:
    return F.conv2d(x, weight, None, *grid)


class LiveTapConvolution(Recomputed):
    """`F.conv2d` with the weight gradient of `weight_gradient`."""

    forward = staticmethod(_plain)

    @staticmethod
    @differentiable(_plain)
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grid: Grid = ctx.taps
        grad_x = grad_weight = None
        with no_autocast(x):  # a backward pass may run under autocast
            if ctx.needs_input_grad[0]:
                sides = ([value] * 2 for value in grid)
                grad_x = torch.ops.aten.convolution_backward(
                    grad, x, weight, None, *sides, False, [0, 0], 1, [True, False, False]
                )[0]
            if ctx.needs_input_grad[1]:
                grad_weight = weight_gradient(x, grad, weight.shape[-1], grid)
        return grad_x, grad_weight, None


def weight_gradient(x: Tensor, grad: Tensor, kernel_size: int, grid: Grid) -> Tensor:
    """The gradient `[C_out, C_in, K, K]` at the weight, from x `[B, C_in, H, W]` and grad `[B, C_out, H', W']`."""
    # [H, W, B, C_in], [H', W', B, C_out]. From a contiguous map each column below would be a slow copy.
    maps, grads = (
        z.permute(2, 3, 0, 1) if _is_channels_last(z) else z.permute(2, 3, 0, 1).contiguous() for z in (x, grad)
    )
    # The channels are innermost, as the products write them, whatever the memory format of the weight is.
    result = x.new_empty(grad.shape[1], kernel_size, kernel_size, x.shape[1])
    offsets = [grid.dilation * step - grid.padding for step in range(kernel_size)]
    for column, right in enumerate(offsets):
        horizontal = along(right, maps.shape[1], grid.stride, range(grads.shape[1]))
        if horizontal is None:
            result[:, :, column].zero_()
            continue
        # One copy for a column of taps: the rows of a tap are then one block of memory.
        there, here = grads[:, horizontal[0]].contiguous(), maps[:, horizontal[1]].contiguous()
        for row, down in enumerate(offsets):
            vertical = along(down, maps.shape[0], grid.stride, range(grads.shape[0]))
            if vertical is None:
                result[:, row, column].zero_()
                continue
            rows, columns = there[vertical[0]].flatten(0, 2), here[vertical[1]].flatten(0, 2)  # [N, C_out], [N, C_in]
            torch.mm(rows.t(), columns, out=result[:, row, column])
    return result.permute(0, 3, 1, 2)


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)
