"""Shifts with one weight per channel as convolutions.

The eight taps at distance L are the outer taps of a 3x3 kernel of dilation L. So, per distance,

* `DW_w(x) = sum_j w_j S_j x` is one dilated depthwise convolution,
* `sum_j W_j S_j x` is one dilated convolution.

By distributivity `hadamard = q * DW_w(k * v) + DW_u(v)`. On small maps one depthwise kernel has all taps. Only the
arguments are kept for the backward pass. The gradients are written out, because a compiler traces no autograd inside of
a backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.kernels.plain import differentiable, transformed
from lightning_xvol.kernels.shifts.blocks import image_blocks, rectangles
from lightning_xvol.kernels.shifts.recompute import Recomputed
from lightning_xvol.kernels.spec import Spec, given, no_autocast

# Maps of at most this many pixels take one depthwise kernel of 11x11 with 24 live taps instead of three dilated 3x3
# kernels. One CPU thread, float32, forward, ms of one kernel instead of three, contiguous / channels_last:
#   [8, 512, 7, 7]     0.49 instead of 0.68 / 0.58 instead of 1.99
#   [64, 16, 8, 8]     0.19 instead of 0.36 / 0.12 instead of 0.25
#   [8, 512, 10, 10]   0.99 instead of 1.29 / 1.36 instead of 0.66
#   [8, 128, 28, 28]   2.7 instead of 2.8 / 3.8 instead of 1.3
# Not measured on other devices.
WHOLE_KERNEL_PIXELS = {"cpu": 64}
WHOLE_KERNEL_REACH = 5

# Devices on which the weight gradient multiplies and sums in channels_last, a rectangle per tap. One CPU thread,
# float32, ms for channels_last with both conversions / contiguous / oneDNN's own in channels_last:
#   [8, 128, 28, 28]   4.8 / 4.7 / 7.7
#   [8, 256, 14, 14]   2.2 / 3.3 / 4.5
#   [8, 512, 7, 7]     1.0 / 3.3 / 6.5
#   [64, 16, 16, 16]   1.7 / 2.1 / 1.9
CHANNELS_LAST_DEVICES = ("cpu",)

Kernels = list[tuple[Tensor, int]]  # kernel and dilation; the results of all are added


def shift_sum(x: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`sum_j w_j S_j x` for `[B, C, H, W]` and a table `[G, T]`, G a divisor of C: `[B, C, H', W']`."""
    weight = weight.repeat_interleave(x.shape[1] // weight.shape[0], 0)  # [C, T]
    y: Tensor = _plain_shift_sum(x, weight, spec) if transformed() else ShiftSum.apply(x, weight, spec)
    return y


def _plain_shift_sum(x: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    return _convolved(x, _per_distance(weight.unsqueeze(2), spec), spec.stride)


def dense_shift_sum(x: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`sum_j W_j S_j x` for `[B, C, H, W]` and weights `[C_out, T, C]`: `[B, C_out, H', W']`."""
    return _convolved(x, _per_distance(weight, spec), spec.stride)


def hadamard(
    query: Tensor, key: Tensor, value: Tensor | None, weight: Tensor, static: Tensor | None, spec: Spec
) -> Tensor:
    """`sum_j (w_j * q * S_j k + u_j) * S_j v`: query `[B, C, H', W']`, key and value `[B, C, H, W]`.

    `weight` is w and `static` is u = w * b, both `[C, T]`. Without a value it is `sum_j w_j * q * S_j k`.
    """
    form = _plain_hadamard if transformed() else Hadamard.apply
    y: Tensor = form(query, key, value, weight, static, spec)
    return y


def _plain_hadamard(
    query: Tensor, key: Tensor, value: Tensor | None, weight: Tensor, static: Tensor | None, spec: Spec
) -> Tensor:
    y = query * _plain_shift_sum(key if value is None else key * value, weight, spec)
    return y if static is None else y + _plain_shift_sum(given(value), static, spec)


class ShiftSum(Recomputed):
    """`DW_w(x)`."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, spec: Spec) -> Tensor:
        return _convolved(x, _depthwise(weight, spec, x), spec.stride)

    @staticmethod
    @differentiable(_plain_shift_sum)
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _adjoint(grad, _depthwise(weight, ctx.taps, x), ctx.taps.stride, x)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(x, grad, ctx.taps)
        return grad_x, None if grad_weight is None else grad_weight.to(weight.dtype), None


class Hadamard(Recomputed):
    """`q * DW_w(k * v) + DW_u(v)`, block by block."""

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, value: Tensor | None, weight: Tensor, static: Tensor | None, spec: Spec
    ) -> Tensor:
        kernels = _depthwise(weight, spec, key)
        static_kernels = [] if static is None else _depthwise(static, spec, key)
        blocks = []
        for block in image_blocks(query):
            product = key[block] if value is None else key[block] * value[block]
            y = _convolved(product, kernels, spec.stride).mul_(query[block])
            if static_kernels:
                y += _convolved(given(value)[block], static_kernels, spec.stride)
            blocks.append(y)
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)

    @staticmethod
    @differentiable(_plain_hadamard)
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weight, static = ctx.saved_tensors
        spec, stride = ctx.taps, ctx.taps.stride
        kernels = _depthwise(weight, spec, key)
        static_kernels = [] if static is None else _depthwise(static, spec, key)
        grad_query, grad_key, grad_value, grad_weight, grad_static = _gradients(ctx)
        for block in image_blocks(query):
            q, k, v, g = query[block], key[block], None if value is None else value[block], grad[block]
            product, grad_sum = k if v is None else k * v, g * q  # [b, C, H, W], [b, C, H', W']
            if grad_query is not None:
                grad_query[block] = _convolved(product, kernels, stride).mul_(g)
            if grad_weight is not None:
                grad_weight += _weight_gradient(product, grad_sum, spec)
            if grad_static is not None:
                grad_static += _weight_gradient(given(v), g, spec)
            if grad_key is not None or grad_value is not None:
                grad_product = _adjoint(grad_sum, kernels, stride, k)
                if grad_key is not None:
                    grad_key[block] = grad_product if v is None else v * grad_product
                if grad_value is not None:
                    grad_value[block] = grad_product.mul_(k)
                    if static_kernels:
                        grad_value[block] += _adjoint(g, static_kernels, stride, k)
        grad_weight, grad_static = (z if z is None else z.to(weight.dtype) for z in (grad_weight, grad_static))
        return grad_query, grad_key, grad_value, grad_weight, grad_static, None


def _gradients(ctx: Any) -> list[Tensor | None]:
    """Room for the gradients that are wanted; sums over the batch would lose bits in bfloat16."""
    return [
        None if not wanted else torch.empty_like(x) if x.dim() == 4 else torch.zeros_like(x, dtype=_wide(x))
        for x, wanted in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
    ]


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _adjoint(grad: Tensor, kernels: Kernels, stride: int, x: Tensor) -> Tensor:
    """The gradient at x: the reversed taps on the grid of x. Only the shape of `x` is used."""
    if stride > 1:
        spread = torch.zeros_like(x)
        spread[..., ::stride, ::stride] = grad
        grad = spread
    return _convolved(grad, [(kernel.flip(2, 3), dilation) for kernel, dilation in kernels], 1)


def _weight_gradient(x: Tensor, grad: Tensor, spec: Spec) -> Tensor:
    """The gradient at the weights of `DW_w(x)`, `[C, T]`, at least in float32."""
    if x.device.type in CHANNELS_LAST_DEVICES:
        x, grad = (z.contiguous(memory_format=torch.channels_last) for z in (x, grad))
    result = x.new_zeros(x.shape[1], len(spec.offsets), dtype=_wide(x))
    for tap, there, here in rectangles(spec, grad, x, range(grad.shape[-2])):
        result[:, tap] = (grad[..., *there] * x[..., *here]).sum((0, 2, 3), dtype=result.dtype)
    return result


def _convolved(x: Tensor, kernels: Kernels, stride: int) -> Tensor:
    """The sum of the convolutions of x with each of `kernels`."""
    y = None
    with no_autocast(x):  # a backward pass may run under autocast
        for kernel, dilation in kernels:
            padding, groups = dilation * (kernel.shape[-1] // 2), x.shape[1] // kernel.shape[1]
            term = F.conv2d(x, kernel, None, stride, padding, dilation, groups)
            y = term if y is None else y.add_(term)
    return given(y)


def _depthwise(weight: Tensor, spec: Spec, x: Tensor) -> Kernels:
    """Depthwise kernels from weights `[C, T]`: those that are fastest on maps of the size of x."""
    kernels = _per_distance(weight.unsqueeze(2), spec)
    if torch.compiler.is_exporting() or spec.reach > WHOLE_KERNEL_REACH:
        return kernels
    small = x.shape[-2] * x.shape[-1] <= WHOLE_KERNEL_PIXELS.get(x.device.type, 0)
    return [_whole(kernels, spec.reach)] if small else kernels


def _per_distance(weight: Tensor, spec: Spec) -> Kernels:
    """A kernel `[C_out, C_in, 3, 3]` per distance from weights `[C_out, T, C_in]`. The first has the centre tap."""
    zero = torch.zeros_like(weight[:, :1])
    kernels = []
    for index, distance in enumerate(spec.shift_distances):
        around = weight[:, 8 * index : 8 * index + 8]
        middle = weight[:, -1:] if spec.centre and index == 0 else zero
        kernel = torch.cat([around[:, :4], middle, around[:, 4:]], 1).transpose(1, 2)  # [C_out, C_in, 9]
        kernels.append((kernel.unflatten(2, (3, 3)), distance))
    return kernels


def _whole(kernels: Kernels, reach: int) -> tuple[Tensor, int]:
    """One kernel with the taps of all, `[C_out, C_in, 2 R + 1, 2 R + 1]` for the reach R."""
    side = 2 * reach + 1
    whole = kernels[0][0].new_zeros(*kernels[0][0].shape[:2], side, side)
    for kernel, distance in kernels:
        taps = slice(reach - distance, reach + distance + 1, distance)
        whole[..., taps, taps] += kernel
    return whole, 1
