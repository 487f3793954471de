"""The literal references: the formulas as they are written, one shifted map per tap. Slow, plain, and the oracle of every test.

Nothing here is to be optimised. Multiplications are written as such, and scaling by norms as divisions, so that counting the
multiplications of this file checks every operator's `macs`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.kernels.spec import EPS, FORMS, Spec


def shift(x: Tensor, offset: tuple[int, int], stride: int = 1) -> Tensor:
    """`x` moved so that position p holds what stood at p + offset, zeros from outside, at every `stride`-th position."""
    row, column = offset
    height, width = x.shape[-2:]
    reach = max(abs(row), abs(column))
    padded = F.pad(x, (reach, reach, reach, reach))
    moved = padded[..., reach + row : reach + row + height, reach + column : reach + column + width]
    return moved[..., ::stride, ::stride]


def normalized(x: Tensor, num_heads: int) -> Tensor:
    """`sqrt(d) x / max(|x|, eps)`, the norm over the channels of each head."""
    heads = x.unflatten(1, (num_heads, -1))  # [B, h, d, H, W]
    norm = torch.linalg.vector_norm(heads, dim=2, keepdim=True)
    return (heads / (norm.clamp_min(EPS) / math.sqrt(heads.shape[2]))).flatten(1, 2)


def pssa(
    spec: Spec, query: Tensor | None, key: Tensor | None, value: Tensor | None, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Every form of PSSA, before propagation and batch norm.

    Args:
        query: `[B, C, H', W']`; key and value: `[B, C, H, W]`. Forms without one get None.
        weight: see `Spec.weight_shape`. bias: `[h, T]` (dot) or `[C, T]` (hadamard).
    """
    if spec.normalize and query is not None and key is not None:
        query, key = normalized(query, spec.num_heads), normalized(key, spec.num_heads)
    terms = [_tap(spec, tap, query, key, value, weight, bias) for tap in range(len(spec.offsets))]
    return torch.stack(terms).sum(0)


def _tap(
    spec: Spec, tap: int, query: Tensor | None, key: Tensor | None, value: Tensor | None, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """The term of one tap, `[B, C, H', W']`."""
    offset = spec.offsets[tap]
    moved_key = None if key is None else shift(key, offset, spec.stride)
    moved_value = None if value is None else shift(value, offset, spec.stride)
    w = weight[:, tap]  # [h], [C] or [C, C]
    b = None if bias is None else bias[:, tap]
    if spec.form == "dot":
        return _dot(spec, query, moved_key, moved_value, w, b)
    if spec.form == "static":
        heads = moved_value.unflatten(1, (spec.num_heads, -1))
        return (w[:, None, None, None] * heads).flatten(1, 2)
    product = moved_value if query is None else query * moved_key
    if FORMS[spec.form].weight == "dense":
        return torch.einsum("oc,bchw->bohw", w, product)
    if b is not None:
        product = product + b[:, None, None]
    product = w[:, None, None] * product
    return product * moved_value if spec.form == "hadamard" else product


def _dot(spec: Spec, query: Tensor, key: Tensor, value: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    q, k, v = (x.unflatten(1, (spec.num_heads, -1)) for x in (query, key, value))  # [B, h, d, H', W']
    coefficient = (q * k).sum(2, keepdim=True)  # [B, h, 1, H', W']
    if spec.normalize:
        coefficient = coefficient / math.sqrt(q.shape[2])
    if b is not None:
        coefficient = coefficient + b[:, None, None, None]
    return (w[:, None, None, None] * coefficient * v).flatten(1, 2)


def propagate(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """`x_0 + sum_k beta_k x_k` over the 3x3 neighbours: weight `[C, 8]`, the centre fixed at 1."""
    spec = Spec("static_channel", shift_distances=(1,), stride=stride)
    return shift(x, (0, 0), stride) + pssa(spec, None, None, x, weight, None)


def self_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`softmax(q k^T / sqrt(d)) v` for `[B, h, M, d]` queries and `[B, h, N, d]` keys and values."""
    logits = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # [B, h, M, N]
    return logits.softmax(-1) @ value
