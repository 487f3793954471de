"""PSSA and involution at any size: work and memory grow with the pixels, no shape is looked at, so these paths export.

The eight taps at distance L are the outer taps of a 3x3 kernel of dilation L. So `sum_j w_j S_j x` is one dilated
depthwise convolution per distance, `sum_j W_j S_j x` one dilated convolution, and by distributivity `hadamard = q *
DW_w(k * v) + DW_{w * b}(v)`. `dot`, `dense`, `softmax` and `involution` do not factor and go tap by tap, over views
of one padded copy that are never stacked; autograd keeps some maps per tap for the first three.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.kernels.spec import Spec, Taps

# oneDNN's depthwise weight gradient is slow in NCHW. Forward + backward, one CPU thread, float32, ms for NCHW /
# channels_last with the conversion: [64, 16, 16, 16] 11.4 / 5.0; [8, 128, 28, 28] 32 / 20; [8, 256, 14, 14] 12.7 / 9.5;
# [2, 64, 56, 56] 13.9 / 9.8. Forward alone they tie. Not measured on a GPU: there the layout stays as it comes.
CHANNELS_LAST_DEVICES = ("cpu",)


def shift_sum(x: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`sum_j w_j S_j x` for `[B, C, H, W]` and a table `[G, T]`, G a divisor of C: `[B, C, H', W']`."""
    channels = x.shape[1]
    if x.device.type in CHANNELS_LAST_DEVICES:
        x = x.contiguous(memory_format=torch.channels_last)
    weight = weight.repeat_interleave(channels // weight.shape[0], 0)  # [C, T]
    return _dilated(x, weight.unsqueeze(2), spec, groups=channels)


def dense_shift_sum(x: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`sum_j W_j S_j x` for `[B, C, H, W]` and weights `[C_out, T, C]`: `[B, C_out, H', W']`."""
    return _dilated(x, weight, spec, groups=1)


def _dilated(x: Tensor, weight: Tensor, spec: Spec, groups: int) -> Tensor:
    """One 3x3 convolution per distance with weights `[C_out, T, C / groups]`, the centre tap in the first of them."""
    zero = torch.zeros_like(weight[:, :1])
    maps = []
    for index, distance in enumerate(spec.shift_distances):
        around = weight[:, 8 * index : 8 * index + 8]
        middle = weight[:, -1:] if spec.centre and index == 0 else zero
        kernel = torch.cat([around[:, :4], middle, around[:, 4:]], 1).transpose(1, 2)  # [C_out, C / groups, 9]
        kernel = kernel.unflatten(2, (3, 3))
        maps.append(F.conv2d(x, kernel, None, spec.stride, padding=distance, dilation=distance, groups=groups))
    y = maps[0]
    for term in maps[1:]:
        y = y + term
    return y


def dot(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None, spec: Spec) -> Tensor:
    """`sum_j (w_j <q, S_j k>_head + u_j) S_j v`: query `[B, C, H', W']`, key and value `[B, C, H, W]`.

    `weight` is w and `static` is u = w * b, both `[h, T]`.
    """
    heads = weight.shape[0]
    # The sum over d takes twice as long over channels_last views.
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    q = query.unflatten(1, (heads, -1))  # [B, h, d, H', W']
    y = torch.zeros_like(q)
    for tap, (k, v) in enumerate(zip(_moved(key, spec, query), _moved(value, spec, query), strict=True)):
        coefficient = (q * k.unflatten(1, (heads, -1))).sum(2, keepdim=True)  # [B, h, 1, H', W']
        coefficient = coefficient * weight[:, tap, None, None, None]
        if static is not None:
            coefficient = coefficient + static[:, tap, None, None, None]
        y = y + coefficient * v.unflatten(1, (heads, -1))
    return y.flatten(1, 2)


def dense(query: Tensor, key: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`sum_j W_j (q * S_j k)`: query `[B, C, H', W']`, key `[B, C, H, W]`, weights `[C, T, C]`.

    Channels last, so that every tap is one matrix product that adds into the sum. Forward + backward, one CPU thread,
    ms against a 1x1 convolution per tap: [64, 16, 8, 8] 9 / 19; [64, 32, 4, 4] 7 / 15; [8, 256, 14, 14] 202 / 233.
    One product per distance over eight concatenated maps ties.
    """
    batch, channels, rows, columns = query.shape
    q = query.permute(0, 2, 3, 1)  # [B, H', W', C]
    y = query.new_zeros(batch * rows * columns, channels)
    for tap, k in enumerate(_moved(key.contiguous(memory_format=torch.channels_last), spec, query)):
        product = (q * k.permute(0, 2, 3, 1)).reshape(-1, channels)  # [B M, C]
        y = torch.addmm(y, product, weight[:, tap].t())
    return y.view(batch, rows, columns, channels).permute(0, 3, 1, 2)


def softmax(query: Tensor, key: Tensor, weight: Tensor, spec: Spec) -> Tensor:
    """`softmax_j(<q, S_j k>_head / sqrt(d) + w_j)`: query `[B, C, H', W']`, key `[B, C, H, W]`, w `[h, T]`.

    What it returns, `[B, h, T, H', W']`, are the kernels of an involution of the value.
    """
    heads = weight.shape[0]
    query, key = query.contiguous(), key.contiguous()
    q = query.unflatten(1, (heads, -1))  # [B, h, d, H', W']
    q = q / math.sqrt(q.shape[2])
    products = [(q * k.unflatten(1, (heads, -1))).sum(2) for k in _moved(key, spec, query)]
    return (torch.stack(products, 2) + weight[:, :, None, None]).softmax(2)


def involution(x: Tensor, weight: Tensor, window: Taps) -> Tensor:
    """`sum_j w_j S_j x` for `[B, C, H, W]` and kernels `[B, G, T, H', W']`, G a divisor of C: `[B, C, H', W']`.

    Autograd keeps one padded copy and the kernels, where unfolding would keep K^2 maps.
    """
    batch, groups, _, rows, columns = weight.shape
    x, weight = x.contiguous(), weight.contiguous()
    y = x.new_zeros(batch, groups, x.shape[1] // groups, rows, columns)
    for tap, moved in enumerate(_moved(x, window, weight)):
        y = torch.addcmul(y, weight[:, :, tap].unsqueeze(2), moved.unflatten(1, (groups, -1)))
    return y.flatten(1, 2)


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
    if stride > 1 and torch.compiler.is_exporting():
        # The bound of a slice in steps, 2 ((H - 1) // 2) < H, is beyond what an export with dynamic sizes can prove.
        return x.index_select(dim, start + stride * torch.arange(count, device=x.device))
    taken = slice(start, start + stride * (count - 1) + 1, stride)
    return x[..., taken, :] if dim == -2 else x[..., taken]
