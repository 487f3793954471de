"""PSSA and involution on small maps, as products of all positions with all, masked by the taps.

The cost is quadratic in the pixels. A table `[G, T]` of tap weights (G heads or channels) becomes a matrix `[G, N, M]`
over key and query positions. It holds the weight of the tap that leads from one position to the other, and 0 where no
tap does. Then `sum_j w_j S_j x` is the product `x W`, and `dot` is exactly `v ((k^T q) * W + U)`. An involution is
`x W` with weights per position.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.kernels.plain import differentiable, plain_wanted
from lightning_xvol.kernels.spec import Spec, Taps

# How many entries of the [b h, N, M] coefficients `MaskedDot` holds at a time. Forward + backward, one CPU thread,
# float32, 4 heads, ms for 2^15 / 2^17 / 2^18 / 2^19 / no limit:
#   [64, 16, 8, 8]     5.0 / 3.5 / 3.3 / 3.5 / 4.0
#   [64, 32, 8, 8]     6.1 / 3.7 / 3.7 / 3.6 / 4.7
#   [64, 16, 16, 16]   47 / 45 / 46 / 40 / 196
# On other devices few launches are better, and the limit only bounds memory (not measured).
CHUNK_ENTRIES = {"cpu": 2**18}
CHUNK_ENTRIES_ELSEWHERE = 2**26


def shift_sum(x: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`sum_j w_j S_j x` for `[B, C, H, W]` and a table `[G, T]`, G a divisor of C: `[B, C, H', W']`."""
    batch, channels, height, width = x.shape
    groups = weight.shape[0]
    matrix = tap_matrix(weight, spec, height, width)  # [G, N, M]
    # No -1 beside a batch that may be 0, here and below: it would be ambiguous.
    rows = x.reshape(batch, groups, channels // groups, height * width).transpose(0, 1)  # [G, B, C / G, N]
    y = torch.bmm(rows.reshape(groups, -1, height * width), matrix)  # [G, B C / G, M]
    y = y.view(groups, batch, channels // groups, matrix.shape[2]).transpose(0, 1)  # [B, G, C / G, M]
    return y.reshape(batch, channels, *spec.output_size(height, width))


def hadamard(
    query: Tensor, key: Tensor, value: Tensor | None, weight: Tensor, static: Tensor | None, spec: Spec
) -> Tensor:
    """`sum_j (w_j * q * S_j k + u_j) * S_j v`, or without a value `sum_j w_j * q * S_j k`, like `shifts.hadamard`."""
    y = query * shift_sum(key if value is None else key * value, weight, spec)
    return y if value is None or static is None else y + shift_sum(value, static, spec)


def dot(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None, spec: Spec) -> Tensor:
    """`sum_j (w_j <q, S_j k>_head + u_j) S_j v`: query `[B, C, H', W']`, key and value `[B, C, H, W]`.

    `weight` is w and `static` is u = w * b, both `[h, T]`.
    """
    heads = weight.shape[0]
    height, width = key.shape[-2:]
    w = tap_matrix(weight, spec, height, width)  # [h, N, M]
    u = None if static is None else tap_matrix(static, spec, height, width)
    q, k, v = (x.flatten(2).unflatten(1, (heads, -1)).flatten(0, 1) for x in (query, key, value))  # [B h, d, M or N]
    # A compiler fuses the plain form by itself. The chunks would only hide it.
    y: Tensor = _masked_dot(q, k, v, w, u) if plain_wanted() else MaskedDot.apply(q, k, v, w, u)
    return y.reshape(query.shape)


def softmax(query: Tensor, key: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`softmax_j(<q, S_j k>_head / sqrt(d) + w_j)`: query `[B, C, H', W']`, key `[B, C, H, W]`, w `[h, T]`.

    The result, `[B, h, T, H', W']`, is the kernel of an involution of the value. All positions are multiplied with all,
    and the products that lie on a tap are taken.
    """
    heads, taps = weight.shape
    q, k = (x.flatten(2).unflatten(1, (heads, -1)).flatten(0, 1) for x in (query, key))  # [B h, d, M or N]
    products = torch.bmm(k.transpose(1, 2), q / math.sqrt(q.shape[1])).flatten(1)  # [B h, N M]
    slots = _slots(spec, key.shape[-2], key.shape[-1], products)
    logits = F.pad(products, (0, slots.numel()))[:, slots]  # [B h, T M], 0 where a tap leads outside
    logits = logits.view(len(query), heads, taps, *query.shape[2:])
    return (logits + weight[:, :, None, None]).softmax(2)


def involution(x: Tensor, weight: Tensor, window: Taps) -> Tensor:
    """`sum_j w_j S_j x` for `[B, C, H, W]` and kernels `[B, G, T, H', W']`, G a divisor of C: `[B, C, H', W']`."""
    batch, channels, height, width = x.shape
    groups = weight.shape[1]
    matrix = _scattered(weight.flatten(3).flatten(0, 1), window, height, width)  # [B G, N, M]
    rows = x.reshape(batch * groups, channels // groups, height * width)
    return torch.bmm(rows, matrix).view(batch, channels, *window.output_size(height, width))


def tap_matrix(table: Tensor, spec: Spec, height: int, width: int) -> Tensor:
    """`[G, T]` as `[G, N, M]`."""
    positions = _product(spec.output_size(height, width))
    return _scattered(table.unsqueeze(2).expand(-1, -1, positions), spec, height, width)


def _scattered(entries: Tensor, taps: Taps, height: int, width: int) -> Tensor:
    """`[G, T, M]` as `[G, N, M]`. No two entries share a slot, so forward and backward only copy, in fixed order."""
    groups, taps_count, positions = entries.shape
    slots = _slots(taps, height, width, entries)  # [T M]
    flat = entries.new_zeros(groups, height * width * positions + slots.numel())
    flat = flat.scatter(1, slots.expand(groups, -1), entries.reshape(groups, taps_count * positions))
    return flat[:, : height * width * positions].view(groups, height * width, positions)


def _slots(taps: Taps, height: int, width: int, entries: Tensor) -> Tensor:
    """The slots into which `_scattered` writes `entries`."""
    if plain_wanted() or type(entries) not in (Tensor, torch.nn.Parameter):
        return _build_slots(taps, height, width, entries.device)  # a traced or fake tensor must not enter the cache
    return _cached_slots(taps, height, width, entries.device)


@lru_cache(maxsize=64)
def _cached_slots(taps: Taps, height: int, width: int, device: torch.device) -> Tensor:
    # The first call may come from inference mode, in the validation of a sanity check. Autograd refuses such a tensor.
    with torch.inference_mode(False):
        return _build_slots(taps, height, width, device)


def _build_slots(taps: Taps, height: int, width: int, device: torch.device) -> Tensor:
    """Flat index in `[N, M]` for each tap and query position, `[T M]`. It is past the end where a tap leads outside."""
    rows, columns = taps.output_size(height, width)
    positions = rows * columns
    offsets = torch.tensor(taps.offsets, device=device)  # [T, 2]
    row = taps.stride * torch.arange(rows, device=device) + offsets[:, 0, None]  # [T, H']
    column = taps.stride * torch.arange(columns, device=device) + offsets[:, 1, None]  # [T, W']
    inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[:, None, :]
    key = (row[:, :, None] * width + column[:, None, :]).flatten(1)  # [T, M]
    slot = key * positions + torch.arange(positions, device=device)
    outside = height * width * positions + torch.arange(slot.numel(), device=device).view_as(slot)
    return torch.where(inside.flatten(1), slot, outside).flatten()


def _masked_dot(q: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor | None, _: Any = None) -> Tensor:
    """`v ((k^T q) * w + u)`: query `[B h, d, M]`, key and value `[B h, d, N]`, matrices `[h, N, M]`."""
    product = torch.bmm(k.transpose(1, 2), q).unflatten(0, (-1, w.shape[0])) * w  # [B, h, N, M]
    return torch.bmm(v, (product if u is None else product + u).flatten(0, 1))  # [B h, d, M]


class MaskedDot(torch.autograd.Function):
    """`_masked_dot` in chunks of the batch that stay in cache.

    It saves only its arguments and computes the coefficients again. The chunks share buffers, because fresh ones cost
    page faults.
    """

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor | None) -> Tensor:
        y = torch.empty_like(q)
        (buffer,) = _buffers(1, q, w)
        for part in _chunks(q, w):
            coefficient = _coefficient(buffer, buffer, q[part], k[part], w, u)
            torch.bmm(v[part], coefficient, out=y[part])
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.taps = None  # in the matrices already
        ctx.save_for_backward(*inputs)

    @staticmethod
    @differentiable(_masked_dot)
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, w, u = ctx.saved_tensors
        grad = grad.contiguous()
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        # The sum over the batch would lose bits in bfloat16.
        grad_w = torch.zeros_like(w, dtype=torch.promote_types(w.dtype, torch.float32))
        grad_u = None if u is None else torch.zeros_like(grad_w)
        buffers = _buffers(3, q, w)
        for part in _chunks(q, w):
            product, coefficient, grad_coefficient = (buffer[: q[part].shape[0]] for buffer in buffers)  # [b h, N, M]
            _coefficient(product, coefficient, q[part], k[part], w, u)
            torch.bmm(grad[part], coefficient.transpose(1, 2), out=grad_v[part])
            torch.bmm(v[part].transpose(1, 2), grad[part], out=grad_coefficient)
            grad_w += _over_images(product.mul_(grad_coefficient), grad_w)
            if grad_u is not None:
                grad_u += _over_images(grad_coefficient, grad_u)
            _by_image(grad_coefficient, w).mul_(w)
            torch.bmm(k[part], grad_coefficient, out=grad_q[part])
            torch.bmm(q[part], grad_coefficient.transpose(1, 2), out=grad_k[part])
        return grad_q, grad_k, grad_v, grad_w.to(w.dtype), None if grad_u is None else grad_u.to(w.dtype)


def _coefficient(product: Tensor, result: Tensor, q: Tensor, k: Tensor, w: Tensor, u: Tensor | None) -> Tensor:
    """Write `k^T q` to `product` and `(k^T q) * w + u` to `result`, `[b h, N, M]`. Both may be the same tensor."""
    product, result = product[: q.shape[0]], result[: q.shape[0]]
    torch.bmm(k.transpose(1, 2), q, out=product)
    by_image = _by_image(result, w)  # [b, h, N, M]
    torch.mul(_by_image(product, w), w, out=by_image)
    if u is not None:
        by_image.add_(u)
    return result


def _by_image(x: Tensor, like: Tensor) -> Tensor:
    """`[b h, N, M]` as `[b, h, N, M]`."""
    return x.view(x.shape[0] // like.shape[0], *like.shape)


def _over_images(x: Tensor, like: Tensor) -> Tensor:
    """The sum over images: `[b h, N, M]` to `[h, N, M]`."""
    by_image = _by_image(x, like)
    return by_image[0] if len(by_image) == 1 else by_image.sum(0, dtype=like.dtype)


def _buffers(count: int, q: Tensor, w: Tensor) -> list[Tensor]:
    """Buffers for the coefficients of the first chunk, which is the largest: `[b h, N, M]`."""
    return [q.new_empty(q[_chunks(q, w)[0]].shape[0], *w.shape[1:]) for _ in range(count)]


def _chunks(q: Tensor, w: Tensor) -> list[slice]:
    """Slices of the first dimension of q. Each holds whole images."""
    entries = CHUNK_ENTRIES.get(q.device.type, CHUNK_ENTRIES_ELSEWHERE)
    step = max(1, entries // w.numel()) * w.shape[0]
    return [slice(start, start + step) for start in range(0, max(1, q.shape[0]), step)]


def _product(size: tuple[int, int]) -> int:
    return size[0] * size[1]
