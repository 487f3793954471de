"""The literal references: the plain formulas, with one shifted map per tap. Slow, and the oracle of every test.

Do not optimise anything here. Multiplications are written as multiplications, and scaling by norms as divisions. So a
count of the multiplications that this file executes checks the `macs` of every operator.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.kernels.spec import EPS, Spec, Taps, given


def shift(x: Tensor, offset: tuple[int, int], stride: int = 1) -> Tensor:
    """`S_j x` at every `stride`-th position p: the value of x at p + offset, or zero outside the map."""
    row, column = offset
    height, width = x.shape[-2:]
    reach = max(abs(row), abs(column))
    padded = F.pad(x, (reach, reach, reach, reach))
    moved = padded[..., reach + row : reach + row + height, reach + column : reach + column + width]
    return moved[..., ::stride, ::stride]


def normalized(x: Tensor, num_heads: int) -> Tensor:
    """`sqrt(d) x / max(|x|, eps)` with the norm over the channels of each head."""
    heads = x.unflatten(1, (num_heads, -1))  # [B, h, d, H, W]
    norm = torch.linalg.vector_norm(heads, dim=2, keepdim=True)
    return (heads / (norm.clamp_min(EPS) / math.sqrt(heads.shape[2]))).flatten(1, 2)


def pssa(
    spec: Spec, query: Tensor | None, key: Tensor | None, value: Tensor | None, weight: Tensor, bias: Tensor | None
) -> Tensor:
    """Every form of PSSA, before propagation and batch norm: `[B, C, H', W']`.

    Args:
        query: `[B, C, H', W']`. None for a form without a query.
        key, value: `[B, C, H, W]`. None for a form without them.
        weight: see `Spec.weight_shape`.
        bias: `[h, T]` (dot), `[C, T]` (hadamard), or None.
    """
    if spec.normalize:
        query, key = normalized(given(query), spec.num_heads), normalized(given(key), spec.num_heads)
    if spec.form == "softmax":
        return softmax(spec, given(query), given(key), given(value), weight)
    terms = []
    for tap, offset in enumerate(spec.offsets):
        moved_key = None if key is None else shift(key, offset, spec.stride)
        moved_value = None if value is None else shift(value, offset, spec.stride)
        b = None if bias is None else bias[:, tap]
        terms.append(_term(spec, query, moved_key, moved_value, weight[:, tap], b))
    return torch.stack(terms).sum(0)


def _term(
    spec: Spec, query: Tensor | None, key: Tensor | None, value: Tensor | None, w: Tensor, b: Tensor | None
) -> Tensor:
    """The term of one tap, `[B, C, H', W']`. Key and value are shifted; w and b are `[h]`, `[C]` or `[C, C]`."""
    match spec.form:
        case "dot":
            q, k, v = (given(x).unflatten(1, (spec.num_heads, -1)) for x in (query, key, value))  # [B, h, d, H', W']
            coefficient = (q * k).sum(2, keepdim=True)  # [B, h, 1, H', W']
            if spec.normalize:
                coefficient = coefficient / math.sqrt(q.shape[2])
            if b is not None:
                coefficient = coefficient + b[:, None, None, None]
            return (w[:, None, None, None] * coefficient * v).flatten(1, 2)
        case "hadamard":
            product = given(query) * given(key)
            if b is not None:
                product = product + b[:, None, None]
            return w[:, None, None] * product * given(value)
        case "hadamard_no_value":
            return w[:, None, None] * (given(query) * given(key))
        case "dense":
            return torch.einsum("oc,bchw->bohw", w, given(query) * given(key))
        case "static":
            heads = given(value).unflatten(1, (spec.num_heads, -1))  # [B, h, d, H', W']
            return (w[:, None, None, None] * heads).flatten(1, 2)
        case "static_channel":
            return w[:, None, None] * given(value)
        case "static_dense":
            return torch.einsum("oc,bchw->bohw", w, given(value))
    raise ValueError(f"unknown form {spec.form!r}")


def softmax(spec: Spec, query: Tensor, key: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """`sum_j softmax_j(<q, S_j k>_head / sqrt(d) + w_j) S_j v`. A tap outside has the logit w_j and the value 0."""
    q = query.unflatten(1, (spec.num_heads, -1))  # [B, h, d, H', W']
    keys, values = (
        [shift(x, offset, spec.stride).unflatten(1, (spec.num_heads, -1)) for offset in spec.offsets]
        for x in (key, value)
    )
    logits = [
        (q * k).sum(2) / math.sqrt(q.shape[2]) + weight[:, tap, None, None] for tap, k in enumerate(keys)
    ]  # [B, h, H', W'] each
    a = torch.stack(logits).softmax(0)  # [T, B, h, H', W']
    return torch.stack([a[tap].unsqueeze(2) * v for tap, v in enumerate(values)]).sum(0).flatten(1, 2)


def propagate(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """`x_0 + sum_k beta_k x_k` over the 3x3 neighbours, with weight `[C, 8]` and the centre fixed at 1."""
    spec = Spec("static_channel", shift_distances=(1,), stride=stride)
    return shift(x, (0, 0), stride) + pssa(spec, None, None, x, weight, None)


def involution(x: Tensor, weight: Tensor, window: Taps) -> Tensor:
    """`sum_j w_j S_j x` for `[B, C, H, W]` and kernels `[B, G, T, H', W']`: `[B, C, H', W']`."""
    groups = weight.shape[1]
    terms = []
    for tap, offset in enumerate(window.offsets):
        moved = shift(x, offset, window.stride).unflatten(1, (groups, -1))  # [B, G, C / G, H', W']
        terms.append(weight[:, :, tap].unsqueeze(2) * moved)
    return torch.stack(terms).sum(0).flatten(1, 2)


def self_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
    """`softmax(q k^T / sqrt(d) [+ b]) v`: q `[B, h, M, d]`, k `[B, h, N, d]`, v `[B, h, N, d_v]`, b `[B, h, M, N]`."""
    logits = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])  # [B, h, M, N]
    if bias is not None:
        logits = logits + bias
    return logits.softmax(-1) @ value


def linear_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`q^ (sum_i k^_i v_i^T) / (sqrt(d) N)`, `x^ = sqrt(d) x / max(|x|, eps)`. Arguments as `self_attention`."""
    d = query.shape[-1]
    query, key = (
        x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(EPS) / math.sqrt(d)) for x in (query, key)
    )
    return query @ (key.transpose(-2, -1) @ value) / (math.sqrt(d) * key.shape[-2])


def relative_logits(query: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """`<q_i, r^H_(j - i) + r^W_(j - i)> / sqrt(d)`, axis by axis: `[B, h, H', W', d]` to `[B, h, M, N]`."""
    (height, width), q = size, query / math.sqrt(query.shape[-1])
    rows, columns = resized(rows, height), resized(columns, width)  # [2 H - 1, d], [2 W - 1, d]
    starts = [[length - 1 - stride * i for i in range(count)] for length, count in zip(size, q.shape[2:4], strict=True)]
    by_row = [q[:, :, i] @ rows[start : start + height].t() for i, start in enumerate(starts[0])]
    by_column = [q[:, :, :, i] @ columns[start : start + width].t() for i, start in enumerate(starts[1])]
    logits = torch.stack(by_row, 2).unsqueeze(-1) + torch.stack(by_column, 3).unsqueeze(-2)  # [B, h, H', W', H, W]
    return logits.flatten(4).flatten(2, 3)


def resized(table: Tensor, length: int) -> Tensor:
    """The `2 length - 1` offsets of an axis from a table `[2 P - 1, d]`: its middle, or the whole table stretched."""
    reach = (table.shape[0] + 1) // 2
    if length <= reach:
        return table[reach - length : reach + length - 1]
    return F.interpolate(table.t()[None], size=2 * length - 1, mode="linear", align_corners=True)[0].t()
