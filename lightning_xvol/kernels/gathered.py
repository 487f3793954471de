"""PSSA and involution over all taps at once, at any size. Exported graphs use this path.

One gather lays the taps of a map side by side. So a graph has a few nodes in all instead of a few per tap. It also has
no slice whose bounds an export with dynamic sizes could not prove. In onnxruntime, one CPU thread, PSSA `dot`, ms of
this graph / of the graph of `shifts`:

* [2, 64, 28, 29] 3.8 / 4.4, [2, 256, 14, 15] 5.3 / 4.5, [2, 512, 7, 8] 2.9 / 8.1
* at stride 2 0.7 to 1.1 / 7.9 to 12.6
* the export itself takes 2 s / 6 to 24 s

The price is memory: T maps, which training would have to keep. Only `dot`, `dense`, `softmax` and `involution` are
here. The other forms are convolutions already (`shifts.shift_sum`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.kernels.spec import Spec, Taps


def dot(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None, spec: Spec) -> Tensor:
    """`sum_j (w_j <q, S_j k>_head + u_j) S_j v`: query `[B, C, H', W']`, key and value `[B, C, H, W]`.

    `weight` is w and `static` is u = w * b, both `[h, T]`.
    """
    heads = weight.shape[0]
    q = query.flatten(2).transpose(1, 2).unflatten(2, (heads, -1)).unsqueeze(1)  # [B, 1, M, h, d]
    k, v = (_gather(x, spec, query).unflatten(3, (heads, -1)) for x in (key, value))  # [B, T, M, h, d]
    coefficient = (q * k).sum(4, keepdim=True) * weight.t()[:, None, :, None]  # [B, T, M, h, 1]
    if static is not None:
        coefficient = coefficient + static.t()[:, None, :, None]
    return _as_map((coefficient * v).sum(1).flatten(2), query)


def dense(query: Tensor, key: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`sum_j W_j (q * S_j k)`: query `[B, C, H', W']`, key `[B, C, H, W]`, weights `[C, T, C]`."""
    q = query.flatten(2).transpose(1, 2).unsqueeze(1)  # [B, 1, M, C]
    product = (q * _gather(key, spec, query)).transpose(1, 2).flatten(2)  # [B, M, T C]
    return _as_map(product @ weight.flatten(1).t(), query)


def softmax(query: Tensor, key: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`softmax_j(<q, S_j k>_head / sqrt(d) + w_j)`: query `[B, C, H', W']`, key `[B, C, H, W]`, w `[h, T]`.

    The result, `[B, h, T, H', W']`, is the kernel of an involution of the value.
    """
    heads = weight.shape[0]
    q = query.flatten(2).transpose(1, 2).unflatten(2, (heads, -1)).unsqueeze(1)  # [B, 1, M, h, d]
    k = _gather(key, spec, query).unflatten(3, (heads, -1))  # [B, T, M, h, d]
    logits = (q * k).sum(4) / math.sqrt(q.shape[4]) + weight.t()[:, None]  # [B, T, M, h]
    return logits.softmax(1).permute(0, 3, 1, 2).unflatten(3, query.shape[-2:])


def involution(x: Tensor, weight: Tensor, window: Taps) -> Tensor:
    """`sum_j w_j S_j x` for `[B, C, H, W]` and kernels `[B, G, T, H', W']`, G a divisor of C: `[B, C, H', W']`."""
    groups = weight.shape[1]
    moved = _gather(x, window, weight).unflatten(3, (groups, -1))  # [B, T, M, G, C / G]
    w = weight.flatten(3).permute(0, 2, 3, 1).unsqueeze(4)  # [B, T, M, G, 1]
    return _as_map((w * moved).sum(1).flatten(2), weight)


def _gather(x: Tensor, taps: Taps, query: Tensor) -> Tensor:
    """`S_j x` at the positions of `query` for every tap, pixel by pixel: `[B, T, M, C]`."""
    reach, (rows, columns) = taps.reach, query.shape[-2:]
    offsets = torch.tensor(taps.offsets, device=x.device)  # [T, 2]
    row = reach + offsets[:, 0, None] + taps.stride * torch.arange(rows, device=x.device)  # [T, H']
    column = reach + offsets[:, 1, None] + taps.stride * torch.arange(columns, device=x.device)  # [T, W']
    pixel = row[:, :, None] * (x.shape[-1] + 2 * reach) + column[:, None, :]  # [T, H', W']
    pixels = F.pad(x, (reach, reach, reach, reach)).flatten(2).transpose(1, 2)  # [B, padded N, C]
    return pixels.index_select(1, pixel.flatten()).unflatten(1, (len(taps.offsets), -1))


def _as_map(y: Tensor, query: Tensor) -> Tensor:
    """`[B, M, C]` as `[B, C, H', W']`, the grid of `query`."""
    return y.transpose(1, 2).unflatten(2, query.shape[-2:])
