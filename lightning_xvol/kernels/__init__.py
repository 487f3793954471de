"""The arithmetic of the attention operators behind a function each.

They are `pssa`, `propagate`, `involution`, `self_attention`, `linear_attention` and `relative_logits`. Every form is
written twice: literally (`reference`, kept for ever as the oracle) and fast (`matrix` for small maps, `shifts` for any
size, `triton` for `dot` and `hadamard` on a GPU, and `gathered` in exported graphs, which serve every size). Which fast
path runs depends on shapes and the kind of device alone: timing would break exact resume.
"""

from __future__ import annotations

import contextlib
import math
import typing
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.errors import UserError
from lightning_xvol.kernels import gathered, matrix, reference, relative, shifts, triton
from lightning_xvol.kernels.spec import EPS, FORMS, Spec, Taps, given, no_autocast, unit

Path = Literal["reference", "matrix", "shifts", "gathered", "triton"]

# Maps of at most so many pixels go as matrices. Forward + backward, one CPU thread, float32, matrix / shifts in ms:
#                     dot, 4 heads   static, per head   hadamard     involution 7x7, 16 channels a group
#   [64, 16, 8, 8]     3.3 / 9.7       0.5 / 1.6        0.8 / 2.1      1.2 / 9.8
#   [16, 64, 10, 10]   4.2 / 11        1.0 / 2.2        3.9 / 5.3      2.8 / 11
#   [8, 64, 14, 14]    6.3 / 8.9       1.8 / 2.2        9.5 / 3.1      4.5 / 9.2
#   [8, 256, 14, 14]    17 / 29        6.8 / 6.6        108 / 8.9       37 / 31
#   [64, 16, 16, 16]    56 / 32        5.5 / 4.7         11 / 9.7       55 / 34
# `softmax`, 4 heads, by the limit per head: [64, 32, 4, 4] 3.1 / 20; [64, 16, 8, 8] 12 / 23; [8, 64, 14, 14] 12 / 21.
# Other devices take the same limits (not measured). The dense forms have no such path.
MATRIX_PIXELS = {"dot": 196, "head": 196, "channel": 100, "dense": 0, "involution": 196}

# With a weight per channel there is a matrix per channel: at most so many entries altogether. Columns as above:
# [64, 64, 6, 6] (2^16) 1.8 / 3.8; [16, 64, 10, 10] (2^19.3) 3.9 / 5.3; [8, 512, 7, 7] (2^20.2) 6.3 / 4.5.
MATRIX_ENTRIES = 2**19

_PATHS: dict[Path, Any] = {"matrix": matrix, "shifts": shifts, "gathered": gathered, "triton": triton}

_forced: Path | None = None


@contextlib.contextmanager
def force(path: Path) -> Iterator[None]:
    """Run every operator in this block on one path whatever the size, for tests and benchmarks.

    What `triton` does not have goes by `shifts`.

    Raises:
        UserError: for an unknown path, and for `triton` where it cannot run.
    """
    global _forced
    if path not in typing.get_args(Path):
        raise UserError(f"unknown path {path!r}; known: {', '.join(typing.get_args(Path))}")
    if path == "triton":
        triton.require(torch.cuda.is_available())
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
    with no_autocast(x):
        query, key, value, bias = (None if z is None else z.to(dtype) for z in (query, key, value, bias))
        path = _path(_limit(spec, x), x, spec.form in triton.FORMS)
        if path == "reference":
            return reference.pssa(spec, query, key, value, weight.to(dtype), bias)
        return _fast(spec, path, query, key, value, weight.to(dtype), bias)


def propagate(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """`x_0 + sum_k beta_k x_k` over the 3x3 neighbours, at every `stride`-th position.

    The weight `[C, 8]` has the neighbours in row-major order; the centre is fixed at 1.
    """
    spec = Spec("static_channel", shift_distances=(1,), centre=True, stride=stride)
    with no_autocast(x):
        weight = weight.to(x.dtype)
        path = _path(_limit(spec, x), x)
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
    with no_autocast(x):
        x, weight = x.to(dtype), weight.to(dtype)
        path = _path(MATRIX_PIXELS["involution"], x)
        if path == "reference":
            return reference.involution(x, weight, window)
        y: Tensor = _PATHS[path].involution(x, weight, window)
        return y


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
    with no_autocast(value):
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


def _limit(spec: Spec, x: Tensor) -> int:
    span = FORMS[spec.form].weight
    limit = MATRIX_PIXELS["dot" if spec.form == "dot" else span]
    return min(limit, math.isqrt(MATRIX_ENTRIES // x.shape[1])) if span == "channel" else limit


def _path(limit: int, x: Tensor, has_program: bool = False) -> Path:
    """`has_program` says whether `triton` has what is asked for."""
    if _forced is not None:
        return "shifts" if _forced == "triton" and not has_program else _forced
    if torch.compiler.is_exporting():
        return "gathered"
    if has_program and triton.serves(x):
        return "triton"
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
        coefficients = _PATHS[path].softmax(query, key, weight, spec)
        return involution(given(value), coefficients, spec)
    if spec.form == "dense":
        return (gathered if path == "gathered" else shifts).dense(query, key, weight, spec)
    static = None if bias is None else weight * bias
    if spec.form == "dot":
        return _PATHS[path].dot(query, key, given(value), weight, static, spec)
    # As convolutions it is an exported graph's already.
    module = shifts if path == "gathered" else _PATHS[path]
    return module.hadamard(query, key, value, weight, static, spec)


def _shift_sum(spec: Spec, path: Path, x: Tensor, weight: Tensor) -> Tensor:
    if weight.dim() == 3:
        return shifts.dense_shift_sum(x, weight, spec)
    return matrix.shift_sum(x, weight, spec) if path == "matrix" else shifts.shift_sum(x, weight, spec)
