"""Tap by tap: `dot`, `dense`, `softmax` and `involution`, which do not factor into convolutions.

All except `softmax`, a control, are written twice:

* An autograd function goes over the rectangles where a tap leads inside the map. `Dot` and `Involution` do so block by
  block: the pixels that a tap reads are still in cache when the next tap reads them.
* A plain form for compilers, which plan memory themselves, uses views of one padded copy. It does not look at shapes.
  It also stands in where the other cannot be differentiated (`kernels/plain.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.kernels.plain import differentiable, plain_wanted
from lightning_xvol.kernels.shifts.blocks import image_blocks, rectangles, row_blocks
from lightning_xvol.kernels.shifts.recompute import Recomputed
from lightning_xvol.kernels.spec import Spec, Taps, no_autocast

Index = tuple[slice, ...]


def dot(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None, spec: Spec) -> Tensor:
    """`sum_j (w_j <q, S_j k>_head + u_j) S_j v`: query `[B, C, H', W']`, key and value `[B, C, H, W]`.

    `weight` is w and `static` is u = w * b, both `[h, T]`.
    """
    q, k, v = (x.unflatten(1, (weight.shape[0], -1)) for x in (query, key, value))  # [B, h, d, H, W]
    if plain_wanted():
        return plain_dot(q, k, v, weight, static, spec).flatten(1, 2)
    y: Tensor = Dot.apply(q, k, v, weight, static, spec)
    return y.flatten(1, 2)


def plain_dot(q: Tensor, k: Tensor, v: Tensor, weight: Tensor, static: Tensor | None, spec: Spec) -> Tensor:
    """`dot` by heads: `[B, h, d, H', W']`."""
    y = torch.zeros_like(q)
    for tap, (moved_k, moved_v) in enumerate(zip(_moved(k, spec, q), _moved(v, spec, q), strict=True)):
        coefficient = (q * moved_k).sum(2, keepdim=True)  # [B, h, 1, H', W']
        coefficient = coefficient * weight[:, tap, None, None, None]
        if static is not None:
            coefficient = coefficient + static[:, tap, None, None, None]
        y = y + coefficient * moved_v
    return y


class Dot(Recomputed):
    """`dot` by heads, summed at least in float32."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, weight: Tensor, static: Tensor | None, spec: Spec) -> Tensor:
        (q, k, v), dtype = _widened(q, k, v), q.dtype
        w, u = _columns(weight, q), _columns(static, q)
        y = torch.zeros_like(q)
        for tap, there, here in _blocks(spec, q, k):
            coefficient = (q[there] * k[here]).sum(2, keepdim=True).mul_(w[tap])  # [b, h, 1, H', W']
            if u:
                coefficient += u[tap]
            y[there].addcmul_(coefficient, v[here])
        return y.to(dtype)

    @staticmethod
    @differentiable(plain_dot)
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weight, static = ctx.saved_tensors
        dtype = q.dtype
        grad, q, k, v = _widened(grad, q, k, v)
        w, u = _columns(weight, q), _columns(static, q)
        grad_q, grad_k, grad_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad_w, grad_u = (torch.zeros_like(weight, dtype=q.dtype) for _ in range(2))
        for tap, there, here in _blocks(ctx.taps, q, k):
            coefficient = (q[there] * k[here]).sum(2, keepdim=True)  # [b, h, 1, H', W']
            grad_coefficient = (grad[there] * v[here]).sum(2, keepdim=True)
            grad_w[:, tap] += (coefficient * grad_coefficient).sum((0, 2, 3, 4))
            coefficient *= w[tap]
            if u:
                grad_u[:, tap] += grad_coefficient.sum((0, 2, 3, 4))
                coefficient += u[tap]
            grad_coefficient *= w[tap]
            grad_q[there].addcmul_(grad_coefficient, k[here])
            grad_k[here].addcmul_(grad_coefficient, q[there])
            grad_v[here].addcmul_(coefficient, grad[there])
        grads = (grad_q.to(dtype), grad_k.to(dtype), grad_v.to(dtype))
        return *grads, grad_w.to(weight.dtype), grad_u.to(weight.dtype) if u else None, None


def dense(query: Tensor, key: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`sum_j W_j (q * S_j k)`: query `[B, C, H', W']`, key `[B, C, H, W]`, weights `[C, T, C]`.

    Channels are last, so that every tap is one matrix product. Forward + backward, one CPU thread, float32, ms of this
    form / of the plain form:

    * [64, 16, 8, 8] 5.0 / 14; [64, 32, 4, 4] 2.7 / 13
    * [8, 256, 14, 14] 146 / 297; [8, 64, 28, 28] 70 / 112
    """
    if plain_wanted():
        return _plain_dense(query, key, weight, spec)
    y: Tensor = Dense.apply(query, key, weight, spec)
    return y


def _plain_dense(query: Tensor, key: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    batch, channels, rows, columns = query.shape
    q = query.permute(0, 2, 3, 1)  # [B, H', W', C]
    y = query.new_zeros(batch * rows * columns, channels)
    if torch.compiler.is_compiling():
        key = key.contiguous(memory_format=torch.channels_last)
    for tap, k in enumerate(_moved(key, spec, query)):
        product = (q * k.permute(0, 2, 3, 1)).reshape(-1, channels)  # [B M, C]
        y = torch.addmm(y, product, weight[:, tap].t())
    return y.view(batch, rows, columns, channels).permute(0, 3, 1, 2)


class Dense(Recomputed):
    """`dense`, summed at least in float32."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, weight: Tensor, spec: Spec) -> Tensor:
        q, k = _pixels_first(query), _pixels_first(key)  # [B, H, W, C]
        y = torch.zeros_like(q, dtype=torch.promote_types(q.dtype, torch.float32))
        for tap, there, here in rectangles(spec, query, key, range(query.shape[-2])):
            y[:, *there] += torch.matmul(q[:, *there] * k[:, *here], weight[:, tap].t())
        return y.to(query.dtype).permute(0, 3, 1, 2)

    @staticmethod
    @differentiable(_plain_dense)
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, weight = ctx.saved_tensors
        q, k, g = _pixels_first(query), _pixels_first(key), _pixels_first(grad)
        wide = torch.promote_types(q.dtype, torch.float32)
        grad_q, grad_k = torch.zeros_like(q, dtype=wide), torch.zeros_like(k, dtype=wide)
        grad_weight = torch.zeros_like(weight)
        with no_autocast(grad):  # a backward pass may run under autocast
            for tap, there, here in rectangles(ctx.taps, query, key, range(query.shape[-2])):
                some_q, some_k, some_g = q[:, *there], k[:, *here], g[:, *there].flatten(0, 2)  # [b n m, C]
                grad_weight[:, tap] = some_g.t() @ (some_q * some_k).flatten(0, 2)
                grad_product = (some_g @ weight[:, tap]).view(some_q.shape)
                grad_q[:, *there] += grad_product * some_k
                grad_k[:, *here] += grad_product * some_q
        grads = [z.to(query.dtype).permute(0, 3, 1, 2) for z in (grad_q, grad_k)]
        return *grads, grad_weight, None


def _pixels_first(x: Tensor) -> Tensor:
    """`[B, C, H, W]` as `[B, H, W, C]`, contiguous."""
    return x.permute(0, 2, 3, 1).contiguous()


def softmax(query: Tensor, key: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`softmax_j(<q, S_j k>_head / sqrt(d) + w_j)`: query `[B, C, H', W']`, key `[B, C, H, W]`, w `[h, T]`.

    The result, `[B, h, T, H', W']`, is the kernel of an involution of the value.
    """
    heads = weight.shape[0]
    query, key = query.contiguous(), key.contiguous()
    q = query.unflatten(1, (heads, -1))  # [B, h, d, H', W']
    q = q / math.sqrt(q.shape[2])
    products = [(q * k.unflatten(1, (heads, -1))).sum(2) for k in _moved(key, spec, query)]
    return (torch.stack(products, 2) + weight[:, :, None, None]).softmax(2)


def involution(x: Tensor, weight: Tensor, window: Taps) -> Tensor:
    """`sum_j w_j S_j x` for `[B, C, H, W]` and kernels `[B, G, T, H', W']`, G a divisor of C: `[B, C, H', W']`."""
    x, weight = x.unflatten(1, (weight.shape[1], -1)), weight.unsqueeze(3)  # [B, G, C / G, H, W], [B, G, T, 1, H', W']
    if plain_wanted():
        return _plain_involution(x, weight, window).flatten(1, 2)
    y: Tensor = Involution.apply(x, weight, window)
    return y.flatten(1, 2)


def _plain_involution(x: Tensor, weight: Tensor, window: Taps) -> Tensor:
    """`involution` by groups: `[B, G, C / G, H', W']`."""
    terms = zip(weight.unbind(2), _moved(x, window, weight), strict=True)
    y = x.new_zeros(*x.shape[:3], *weight.shape[-2:])
    for w, moved in terms:
        y = torch.addcmul(y, w, moved)
    return y


class Involution(Recomputed):
    """`involution` by groups, summed at least in float32."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, window: Taps) -> Tensor:
        (x, weight), dtype = _widened(x, weight), x.dtype
        y = x.new_zeros(*x.shape[:3], *weight.shape[-2:])
        for tap, there, here in _blocks(window, y, x):
            y[there].addcmul_(weight[:, :, tap][there], x[here])
        return y.to(dtype)

    @staticmethod
    @differentiable(_plain_involution)
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dtype = x.dtype
        grad, x, weight = _widened(grad, x, weight)
        grad_x, grad_weight = torch.zeros_like(x), torch.zeros_like(weight)
        for tap, there, here in _blocks(ctx.taps, grad, x):
            grad_weight[:, :, tap][there] = (grad[there] * x[here]).sum(2, keepdim=True)
            grad_x[here].addcmul_(weight[:, :, tap][there], grad[there])
        return grad_x.to(dtype), grad_weight.to(dtype), None


def _blocks(taps: Taps, query: Tensor, key: Tensor) -> Iterator[tuple[int, Index, Index]]:
    """For blocks of images and rows, the taps that lead inside, with indices into query and key, `[B, h, d, H, W]`."""
    for images in image_blocks(query):
        for rows in row_blocks(query[images]):
            for tap, there, here in rectangles(taps, query, key, rows):
                yield tap, (images, slice(None), slice(None), *there), (images, slice(None), slice(None), *here)


def _columns(table: Tensor | None, like: Tensor) -> list[Tensor]:
    """The weights of each tap, `[h, 1, 1, 1]`, from a table `[h, T]`. An empty list where there is no table."""
    return [] if table is None else list(table.to(like.dtype)[:, :, None, None, None].unbind(1))


def _widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors at least in float32, and contiguous: a sum over d takes twice as long in channels_last."""
    return tuple(tensor.to(torch.promote_types(tensor.dtype, torch.float32)).contiguous() for tensor in tensors)


def _moved(x: Tensor, taps: Taps, query: Tensor) -> list[Tensor]:
    """`S_j x` at the positions of `query` for every tap, as views of one padded copy."""
    reach, stride = taps.reach, taps.stride
    rows, columns = query.shape[-2:]
    padded = F.pad(x, (reach, reach, reach, reach))
    return [
        _every(_every(padded, -2, reach + row, stride, rows), -1, reach + column, stride, columns)
        for row, column in taps.offsets
    ]


def _every(x: Tensor, dim: int, start: int, stride: int, count: int) -> Tensor:
    """`count` entries of `x` along `dim` (-1 or -2), from `start` in steps of `stride`."""
    taken = slice(start, start + stride * (count - 1) + 1, stride)
    return x[..., taken, :] if dim == -2 else x[..., taken]
