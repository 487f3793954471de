"""The arithmetic of the attention operators behind a function each.

They are `pssa`, `propagate`, `involution`, `self_attention`, `linear_attention` and `relative_logits`. Every form is
written twice: literally (`reference`, kept for ever as the oracle) and fast (`matrix` for small maps, `shifts` for any
size). Which fast path runs depends on shapes and the kind of device alone: timing would break exact resume.
"""

from __future__ import annotations

import contextlib
import math
import typing
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.errors import UserError
from lightning_xvol.kernels import matrix, reference, relative, shifts
from lightning_xvol.kernels.spec import EPS, FORMS, Spec, Taps, given, unit

Path = Literal["reference", "matrix", "shifts"]

# Maps of at most so many pixels go as matrices. Forward + backward, one CPU thread, float32, matrix / shifts in ms:
#                     dot, 4 heads   per head     per channel
#   [64, 16, 8, 8]    3.3 / 15.5     0.5 / 2.7    0.6 / 2.7
#   [16, 64, 10, 10]  -              1.0 / 4.0    2.4 / 3.9
#   [8, 64, 14, 14]   6.5 / 14.8     1.7 / 2.3    7.4 / 2.2
#   [8, 256, 14, 14]  17 / 88        5.7 / 9.9    149 / 9.5
#   [64, 16, 16, 16]  46 / 38        4.6 / 5.1    5.7 / 5.0
# `softmax`, 4 heads, by the limit per head: [64, 32, 4, 4] 3.1 / 20; [64, 16, 8, 8] 12 / 23; [8, 64, 14, 14] 12 / 21.
# Involution 7x7, 16 channels a group, matrix / shifts / unfolding: [64, 16, 8, 8] 1.0 / 14 / 11; [8, 512, 7, 7]
# 3.8 / 46 / 58; [8, 256, 14, 14] 27 / 92 / 211; [64, 16, 16, 16] 18 / 34 / 133; [8, 128, 28, 28] - / 174 / 411.
# Other devices take the same limits (not measured). The dense forms have no such path.
MATRIX_PIXELS = {"dot": 196, "head": 196, "channel": 100, "dense": 0, "involution": 256}

_forced: Path | None = None


@contextlib.contextmanager
def force(path: Path) -> Iterator[None]:
    """Run every operator in this block on one path whatever the size, for tests and benchmarks.

    Raises:
        UserError: for an unknown path.
    """
    global _forced
    if path not in typing.get_args(Path):
        raise UserError(f"unknown path {path!r}; known: {', '.join(typing.get_args(Path))}")
    before, _forced = _forced, path
    try:
        yield
    finally:
        _forced = before


def pssa(
    spec: Spec, query: Tensor | None, key: Tensor | None, value: Tensor | None, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Every form of PSSA, before propagation and batch norm: `[B, C, H', W']`, in float32 where the input is float16.

    Args:
        query: `[B, C, H', W']`, the strided grid; key and value: `[B, C, H, W]`. A form without one of them gets None.
        weight: `[h, T]`, `[C, T]` or `[C, T, C]`, see `Spec.weight_shape`.
        bias: the position bias b_j, `[h, T]` (dot), `[C, T]` (hadamard) or None.
    """
    x = given(key if value is None else value)
    # Three features meet here, which overflows float16.
    dtype = torch.float32 if x.dtype == torch.float16 else x.dtype
    with _no_autocast(x):
        query, key, value, bias = (None if z is None else z.to(dtype) for z in (query, key, value, bias))
        path = _path(_limit(spec), x)
        if path == "reference":
            return reference.pssa(spec, query, key, value, weight.to(dtype), bias)
        return _fast(spec, path, query, key, value, weight.to(dtype), bias)


def propagate(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """`x_0 + sum_k beta_k x_k` over the 3x3 neighbours, at every `stride`-th position.

    The weight `[C, 8]` has the neighbours in row-major order; the centre is fixed at 1.
    """
    spec = Spec("static_channel", shift_distances=(1,), centre=True, stride=stride)
    with _no_autocast(x):
        weight = weight.to(x.dtype)
        path = _path(_limit(spec), x)
        if path == "reference":
            return reference.propagate(x, weight, stride)
        return _shift_sum(spec, path, x, torch.cat([weight, torch.ones_like(weight[:, :1])], 1))


def involution(x: Tensor, weight: Tensor, window: Taps) -> Tensor:
    """`sum_j w_j S_j x`, the kernels of a position shared by the channels of a group, in float32 for float16.

    Args:
        x: `[B, C, H, W]`. weight: `[B, G, K^2, H', W']`, the strided grid. Returned is `[B, C, H', W']`.
    """
    dtype = torch.promote_types(x.dtype, weight.dtype)
    dtype = torch.float32 if dtype == torch.float16 else dtype
    with _no_autocast(x):
        x, weight = x.to(dtype), weight.to(dtype)
        path = _path(MATRIX_PIXELS["involution"], x)
        if path == "reference":
            return reference.involution(x, weight, window)
        return (matrix if path == "matrix" else shifts).involution(x, weight, window)


def self_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
    """`softmax(q k^T / sqrt(d) [+ b]) v`: `[B, h, M, d_v]`.

    Args:
        query: `[B, h, M, d]`; key: `[B, h, N, d]`; value: `[B, h, N, d_v]`; bias: `[B, h, M, N]` or None.
    """
    if _forced == "reference":
        return reference.self_attention(query, key, value, bias)
    return F.scaled_dot_product_attention(query, key, value, bias)


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`sum_i <q^, k^_i> / sqrt(d) v_i / N`, q^ and k^ normalised as those of PSSA: self-attention without its softmax.

    Linear in the positions, as sum_i k^_i v_i^T is one matrix for all queries. `[B, h, M, d_v]`, in float32 for
    float16.

    Args:
        query: `[B, h, M, d]`; key: `[B, h, N, d]`; value: `[B, h, N, d_v]`.
    """
    dtype = torch.float32 if value.dtype == torch.float16 else value.dtype
    with _no_autocast(value):
        query, key, value = (x.to(dtype) for x in (query, key, value))
        if _forced == "reference":
            return reference.linear_attention(query, key, value)
        query, key = (x * torch.rsqrt((x * x).sum(-1, keepdim=True).clamp_min(EPS**2)) for x in (query, key))
        scale = math.sqrt(query.shape[-1]) / key.shape[-2]
        return query @ (scale * (key.transpose(-2, -1) @ value))


def relative_logits(query: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """`<q_i, r^H_(j - i) + r^W_(j - i)> / sqrt(d)` for query positions i and key positions j: `[B, h, M, N]`.

    Args:
        query: `[B, h, H', W', d]`, every `stride`-th position of the keys' grid `size`, which is H, W.
        rows, columns: r^H and r^W, `[2 P - 1, d]` each, offsets from -(P - 1) to P - 1. On a side longer than P the
            table is stretched over it, linearly, ends on ends.
    """
    if _forced == "reference":
        return reference.relative_logits(query, rows, columns, size, stride)
    return relative.logits(query, rows, columns, size, stride)


def _limit(spec: Spec) -> int:
    return MATRIX_PIXELS["dot" if spec.form == "dot" else FORMS[spec.form].weight]


def _path(limit: int, x: Tensor) -> Path:
    if _forced is not None:
        return _forced
    if torch.compiler.is_exporting():
        return "shifts"  # an exported graph serves every size
    return "matrix" if x.shape[-2] * x.shape[-1] <= limit else "shifts"


def _fast(
    spec: Spec,
    path: Path,
    query: Tensor | None,
    key: Tensor | None,
    value: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
) -> Tensor:
    """The forms by what they lack: query (static*), value (hadamard_no_value, dense) or nothing (dot, hadamard)."""
    if query is None or key is None:
        return _shift_sum(spec, path, given(value), weight)
    if spec.normalize:
        # `dot` divides the inner product of the two by sqrt(d): here one of them goes without its factor instead.
        query = unit(query, spec.num_heads, scaled=spec.form != "dot")
        key = unit(key, spec.num_heads)
    if spec.form == "softmax":
        softmax = matrix.softmax if path == "matrix" else shifts.softmax
        return involution(given(value), softmax(query, key, weight, spec), spec)
    if value is None:
        if spec.form == "dense":
            return shifts.dense(query, key, weight, spec)
        return query * _shift_sum(spec, path, key, weight)
    static = None if bias is None else weight * bias
    if spec.form == "dot":
        dot = matrix.dot if path == "matrix" else shifts.dot
        return dot(query, key, value, weight, static, spec)
    y = query * _shift_sum(spec, path, key * value, weight)
    return y if static is None else y + _shift_sum(spec, path, value, static)


def _shift_sum(spec: Spec, path: Path, x: Tensor, weight: Tensor) -> Tensor:
    if weight.dim() == 3:
        return shifts.dense_shift_sum(x, weight, spec)
    return matrix.shift_sum(x, weight, spec) if path == "matrix" else shifts.shift_sum(x, weight, spec)


def _no_autocast(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Autocast would take the float32 sums of float16 products back to float16."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()
