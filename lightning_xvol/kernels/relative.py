"""2D relative logits as batched matrix products. The code does not branch on the size, so this path exports.

One formula, `o -> o min(1, (P - 1) / (length - 1))`, maps the `2 length - 1` offsets of an axis to its table. On a side
within reach it takes the vectors unchanged. On a longer side it is the linear resize with aligned ends.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def logits(query: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """`<q_i, r^H_(j - i) + r^W_(j - i)> / sqrt(d)`: `[B, h, H', W', d]` and tables `[2 P - 1, d]` to `[B, h, M, N]`."""
    query = query / math.sqrt(query.shape[-1])
    by_row = _pairs(rows, size[0], query.shape[2], stride)  # [H', H, d]
    by_column = _pairs(columns, size[1], query.shape[3], stride)  # [W', W, d]
    row_logits = torch.einsum("bhxyd,xjd->bhxyj", query, by_row).unsqueeze(-1)  # [B, h, H', W', H, 1]
    column_logits = torch.einsum("bhxyd,yjd->bhxyj", query, by_column).unsqueeze(-2)  # [B, h, H', W', 1, W]
    return (row_logits + column_logits).flatten(4).flatten(2, 3)


def _pairs(table: Tensor, length: int, queries: int, stride: int) -> Tensor:
    """`r_(j - i)` for every `stride`-th position i (queries) and all positions j (keys) of an axis: `[L', L, d]`."""
    position = torch.arange(length, device=table.device)
    offset = position - stride * torch.arange(queries, device=table.device).unsqueeze(1)  # [L', L]
    return _resized(table, length)[offset + length - 1]


def _resized(table: Tensor, length: int) -> Tensor:
    """`[2 P - 1, d]` as `[2 length - 1, d]`."""
    reach = table.shape[0] // 2  # P - 1
    dtype = torch.promote_types(table.dtype, torch.float32)
    offset = torch.arange(1 - length, length, device=table.device, dtype=dtype)
    position = reach + offset * (reach / offset[-1].clamp_min(max(1, reach)))
    low = position.floor().clamp(0, 2 * reach).long()
    high = (low + 1).clamp_max(2 * reach)
    # The gradient of indexing is summed in a fixed order on a GPU too. That of index_select is not.
    return torch.lerp(table[low], table[high], (position - low).to(table.dtype).unsqueeze(1))
