"""Where taps lead inside the map: the rectangles that count, so that nothing is padded and no dead tap is computed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_xvol.kernels.spec import Taps

BLOCK_ENTRIES = {"cpu": 2**18}

Rectangle = tuple[slice, slice]


def image_blocks(x: Tensor) -> list[slice]:
    """Slices of the batch of x, about equal: one for a compiler, which plans memory itself."""
    images, entries = x.shape[0], BLOCK_ENTRIES.get(x.device.type)
    if torch.compiler.is_compiling() or entries is None or x.numel() <= entries:
        return [slice(0, images)]
    some = max(1, -(-images // -(-x.numel() // entries)))
    return [slice(start, start + some) for start in range(0, images, some)]


def rectangles(taps: Taps, query: Tensor, key: Tensor, rows: range) -> Iterator[tuple[int, Rectangle, Rectangle]]:
    """Every tap that leads inside from some of the `rows` of the query grid: `tap, there, here`.

    `query[..., *there]` are the positions from which it does, `key[..., *here]` where it leads, of the same size.
    """
    for tap, (row, column) in enumerate(taps.offsets):
        vertical = _along(row, key.shape[-2], taps.stride, rows)
        horizontal = _along(column, key.shape[-1], taps.stride, range(query.shape[-1]))
        if vertical and horizontal:
            yield tap, (vertical[0], horizontal[0]), (vertical[1], horizontal[1])


def _along(offset: int, length: int, stride: int, positions: range) -> tuple[slice, slice] | None:
    """Of the query `positions` p those with `0 <= stride p + offset < length`, and the latter."""
    start = max(positions.start, -(offset // stride))
    stop = min(positions.stop, (length - 1 - offset) // stride + 1)
    if start >= stop:
        return None
    return slice(start, stop), slice(stride * start + offset, stride * (stop - 1) + offset + 1, stride)
