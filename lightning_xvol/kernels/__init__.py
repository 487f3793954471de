"""The attention operators' arithmetic behind one function each: `pssa`, `propagate`, `self_attention`.

Every form is written twice: literally (`reference`, kept for ever as the oracle) and fast (`matrix` for small maps, `shifts` for any
size). Which fast path runs depends on shapes and the kind of device alone: timing at run time would break exact resume.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.errors import UserError
from lightning_xvol.kernels import matrix, reference, shifts
from lightning_xvol.kernels.spec import FORMS, Spec, unit

Path = Literal["reference", "matrix", "shifts"]

# Maps of at most so many pixels go as matrices. Measured forward + backward, one thread, float32, matrix / shifts in ms:
#   dot     [64, 16, 8, 8] 3.2 / 15.5   [8, 64, 14, 14] 6.5 / 14.8   [8, 256, 14, 14] 17 / 88   [64, 16, 16, 16] 47 / 38
#   head    [64, 16, 8, 8] 0.5 / 2.7    [64, 16, 14, 14] 3.1 / 4.3   [8, 256, 14, 14] 5.7 / 9.9   [64, 16, 16, 16] 4.6 / 5.1
#   channel [64, 16, 8, 8] 0.6 / 2.7    [16, 64, 10, 10] 2.4 / 3.9   [16, 64, 12, 12] 2.9 / 3.5   [8, 256, 14, 14] 149 / 9.5
# Not measured on other devices, which take the same limits.
MATRIX_PIXELS = {"dot": 196, "head": 196, "channel": 100}

_forced: Path | None = None


@contextlib.contextmanager
def force(path: Path) -> Iterator[None]:
    """Run every operator in this block on one path, whatever the size: for tests and benchmarks."""
    global _forced
    if path not in ("reference", "matrix", "shifts"):
        raise UserError(f"unknown path {path!r}; known: reference, matrix, shifts")
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
        bias: the position bias b_j, `[h, T]` (dot) or `[C, T]` (hadamard), or None.
    """
    some = _given(spec, key if value is None else value)
    with _no_autocast(some.device.type):
        query, key, value, bias = (_accumulable(x, some.dtype) for x in (query, key, value, bias))
        weight = _given(spec, _accumulable(weight, some.dtype))
        path = _path(spec, some)
        if path == "reference":
            return reference.pssa(spec, query, key, value, weight, bias)
        return _fast(spec, path, query, key, value, weight, bias)


def propagate(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """`x_0 + sum_k beta_k x_k` over the 3x3 neighbours, at every `stride`-th position: weight `[C, 8]`, the centre fixed at 1."""
    spec = Spec("static_channel", shift_distances=(1,), centre=True, stride=stride)
    with _no_autocast(x.device.type):
        weight = weight.to(x.dtype)
        path = _path(spec, x)
        if path == "reference":
            return reference.propagate(x, weight, stride)
        return _shift_sum(spec, path, x, torch.cat([weight, torch.ones_like(weight[:, :1])], 1))


def self_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`softmax(q k^T / sqrt(d)) v` for `[B, h, M, d]` queries and `[B, h, N, d]` keys and values: `[B, h, M, d]`."""
    if _forced == "reference":
        return reference.self_attention(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


def _path(spec: Spec, x: Tensor) -> Path:
    if _forced is not None:
        return _forced
    if torch.compiler.is_exporting():
        return "shifts"  # an exported graph serves every size
    form = FORMS[spec.form]
    limit = MATRIX_PIXELS.get("dot" if spec.form == "dot" else form.weight, 0)
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
    """The forms by what they have: no query (static*), no value (hadamard_no_value, dense), or all three (dot, hadamard)."""
    if query is None or key is None:
        return _shift_sum(spec, path, _given(spec, value), weight)
    if spec.normalize:
        # `dot` divides the inner product of the two by sqrt(d): here one of them goes without its factor instead.
        query = unit(query, spec.num_heads, scaled=spec.form != "dot")
        key = unit(key, spec.num_heads)
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


def _given(spec: Spec, x: Tensor | None) -> Tensor:
    if x is None:
        raise ValueError(f"form {spec.form!r} needs a key and a value where it has them, got None")
    return x


def _no_autocast(device_type: str) -> contextlib.AbstractContextManager[object]:
    """Autocast would cast the float32 sums of float16 products back to float16."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


def _accumulable(x: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """`x` in `dtype`, or in float32 instead of float16, which overflows where three features meet."""
    return None if x is None else x.to(torch.float32 if dtype == torch.float16 else dtype)
