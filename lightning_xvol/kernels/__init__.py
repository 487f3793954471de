"""The arithmetic of the attention operators.

The functions are `pssa`, `propagate`, `involution`, `self_attention`, `linear_attention` and `relative_logits`. Each is
written literally in `reference`, which stays for ever as the oracle of the tests, and again as fast paths:

* `matrix`: small maps.
* `shifts`: any size.
* `triton`: `dot` and `hadamard` on a GPU.
* `gathered`: exported graphs, which serve every size.

Shapes and the kind of device alone choose the fast path. A choice by timing would break exact resume. Where a fast path
cannot be differentiated as asked, its plain form takes over (`plain`). So second derivatives, forward mode and `vmap`
work on every path.
"""

from __future__ import annotations

import contextlib
import math
import typing
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_xvol.errors import UserError
from lightning_xvol.kernels import gathered, matrix, reference, relative, shifts, triton
from lightning_xvol.kernels.attention import attention
from lightning_xvol.kernels.plain import transformed
from lightning_xvol.kernels.spec import EPS, FORMS, Spec, Taps, given, no_autocast, unit

Path = Literal["reference", "matrix", "shifts", "gathered", "triton"]

# Maps of at most this many pixels take `matrix`. Forward + backward, one CPU thread, float32, matrix / shifts in ms:
#                     dot, 4 heads   static, per head   hadamard     involution 7x7, 16 channels a group
#   [64, 16, 8, 8]     3.3 / 9.7       0.5 / 1.6        0.8 / 2.1      1.2 / 9.8
#   [16, 64, 10, 10]   4.2 / 11        1.0 / 2.2        3.9 / 5.3      2.8 / 11
#   [8, 64, 14, 14]    6.3 / 8.9       1.8 / 2.2        9.5 / 3.1      4.5 / 9.2
#   [8, 256, 14, 14]    17 / 29        6.8 / 6.6        108 / 8.9       37 / 31
#   [64, 16, 16, 16]    56 / 32        5.5 / 4.7         11 / 9.7       55 / 34
# `softmax`, 4 heads, by the limit per head: [64, 32, 4, 4] 3.1 / 20; [64, 16, 8, 8] 12 / 23; [8, 64, 14, 14] 12 / 21.
# Other devices take the same limits (not measured). The dense forms have no `matrix` path.
MATRIX_PIXELS = {"dot": 196, "head": 196, "channel": 100, "dense": 0, "involution": 196}

# With a weight per channel there is a matrix per channel. Together they have at most this many entries. As above:
# [64, 64, 6, 6] (2^16) 1.8 / 3.8; [16, 64, 10, 10] (2^19.3) 3.9 / 5.3; [8, 512, 7, 7] (2^20.2) 6.3 / 4.5.
MATRIX_ENTRIES = 2**19

_PATHS: dict[Path, Any] = {"matrix": matrix, "shifts": shifts, "gathered": gathered, "triton": triton}

_forced: Path | None = None


@contextlib.contextmanager
def force(path: Path) -> Iterator[None]:
    """Run every operator in this block on one path at every size, for tests and benchmarks.

    `triton` has only some functions; the others run on `shifts`.

    Raises:
        UserError: for an unknown path, or for `triton` where it cannot run.
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
        query: `[B, C, H', W']`, on the strided grid. None for a form without a query.
        key, value: `[B, C, H, W]`. None for a form without them.
        weight: `[h, T]`, `[C, T]` or `[C, T, C]`, see `Spec.weight_shape`.
        bias: the position bias b_j, `[h, T]` (dot) or `[C, T]` (hadamard), or None.
    """
    x = given(key if value is None else value)
    # The product of three features overflows float16.
    dtype = torch.float32 if x.dtype == torch.float16 else x.dtype
    with no_autocast(x):
        query, key, value, bias = (None if z is None else z.to(dtype) for z in (query, key, value, bias))
        path = _path(_limit(spec, x), x, spec.form in triton.FORMS)
        if path == "reference":
            return reference.pssa(spec, query, key, value, weight.to(dtype), bias)
        return _fast(spec, path, query, key, value, weight.to(dtype), bias)


def propagate(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """`x_0 + sum_k beta_k x_k` over the 3x3 neighbours, at every `stride`-th position.

    `weight` is `[C, 8]` with the neighbours in row-major order. The centre is fixed at 1.
    """
    spec = Spec("static_channel", shift_distances=(1,), centre=True, stride=stride)
    with no_autocast(x):
        weight = weight.to(x.dtype)
        path = _path(_limit(spec, x), x)
        if path == "reference":
            return reference.propagate(x, weight, stride)
        return _shift_sum(spec, path, x, torch.cat([weight, torch.ones_like(weight[:, :1])], 1))


def involution(x: Tensor, weight: Tensor, window: Taps) -> Tensor:
    """`sum_j w_j S_j x` with a kernel per position and group: `[B, C, H', W']`, in float32 where the input is float16.

    Args:
        x: `[B, C, H, W]`.
        weight: `[B, G, K^2, H', W']`, on the strided grid. The channels of a group share a kernel.
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
        query: `[B, h, M, d]`.
        key: `[B, h, N, d]`.
        value: `[B, h, N, d_v]`.
        bias: `[B, h, M, N]`, or None.
    """
    if _forced == "reference":
        return reference.self_attention(query, key, value, bias)
    return attention(query, key, value, bias)


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Self-attention without softmax, `sum_i <q^, k^_i> / sqrt(d) v_i / N`: `[B, h, M, d_v]`.

    q^ and k^ are normalised as in PSSA. The cost is linear in the positions, since sum_i k^_i v_i^T is one matrix for
    all queries. The result is in float32 where the input is float16.

    Args:
        query: `[B, h, M, d]`.
        key: `[B, h, N, d]`.
        value: `[B, h, N, d_v]`.
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
        query: `[B, h, H', W', d]`, every `stride`-th position of the grid of the keys.
        rows, columns: r^H and r^W, `[2 P - 1, d]` each, for offsets from -(P - 1) to P - 1. A side longer than P
            stretches its table linearly, with the ends aligned.
        size: H and W, the grid of the keys.
        stride: the step from one query to the next.
    """
    if _forced == "reference":
        return reference.relative_logits(query, rows, columns, size, stride)
    return relative.logits(query, rows, columns, size, stride)


def _limit(spec: Spec, x: Tensor) -> int:
    """The number of pixels up to which `spec` takes `matrix`."""
    span = FORMS[spec.form].weight
    limit = MATRIX_PIXELS["dot" if spec.form == "dot" else span]
    return min(limit, math.isqrt(MATRIX_ENTRIES // x.shape[1])) if span == "channel" else limit


def _path(limit: int, x: Tensor, has_program: bool = False) -> Path:
    """The path for `x`. `has_program` says whether `triton` has the wanted function."""
    if _forced is not None:
        return "shifts" if _forced == "triton" and not has_program else _forced
    if torch.compiler.is_exporting():
        return "gathered"
    if transformed():
        return "shifts"
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
    """PSSA on a fast path. Static forms have no query and key, `hadamard_no_value` and `dense` have no value."""
    if query is None or key is None:
        return _shift_sum(spec, path, given(value), weight)
    if spec.normalize:
        # `dot` divides the inner product by sqrt(d). Leaving that factor out of the query does the same.
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
    # `hadamard` consists of convolutions, so an exported graph needs no other path for it.
    module = shifts if path == "gathered" else _PATHS[path]
    return module.hadamard(query, key, value, weight, static, spec)


def _shift_sum(spec: Spec, path: Path, x: Tensor, weight: Tensor) -> Tensor:
    """`sum_j w_j S_j x` with the weights of `Spec.weight_shape`."""
    if weight.dim() == 3:
        return shifts.dense_shift_sum(x, weight, spec)
    return matrix.shift_sum(x, weight, spec) if path == "matrix" else shifts.shift_sum(x, weight, spec)
