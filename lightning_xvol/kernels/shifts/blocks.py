"""How the work is cut: blocks that stay in cache, and in each block the rectangles where a tap leads inside the map.

So nothing is padded and no tap outside the map is computed. Temporaries stay small, since the page faults of large ones
take longer than the arithmetic on them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_xvol.kernels.spec import Taps

# The largest number of entries of a feature map in one block (a block of images holds at least one image). One CPU
# thread, float32, ms of forward / forward + backward for hadamard, forward / backward for dot with 4 heads:
#                                 2^16        2^17        2^18        2^20        no limit
#   hadamard [8, 128, 28, 28]    3.9 / 20    3.0 / 17    3.2 / 16    3.4 / 16    3.6 / 16
#   with the heap just trimmed   5.0 / 27    4.9 / 24    3.4 / 21     13 / 42     14 / 46
#   dot      [8, 128, 28, 28]     23 / 53     14 / 35     12 / 29     12 / 40     12 / 40
#   dot      [1, 64, 112, 112]    17 / 40     13 / 32     11 / 29     11 / 43     11 / 40
#   dot      [8, 256, 14, 14]     11 / 27    9.1 / 22    7.8 / 19    7.1 / 18    7.1 / 19
# On other devices a launch costs more than a trip to memory (not measured).
BLOCK_ENTRIES = {"cpu": 2**18}

Rectangle = tuple[slice, slice]


def image_blocks(x: Tensor) -> list[slice]:
    """Slices of the batch of x, about equal. A compiler plans memory itself and gets a single slice."""
    images, entries = x.shape[0], BLOCK_ENTRIES.get(x.device.type)
    if torch.compiler.is_compiling() or entries is None or x.numel() <= entries:
        return [slice(0, images)]
    some = max(1, -(-images // -(-x.numel() // entries)))
    return [slice(start, start + some) for start in range(0, images, some)]


def row_blocks(x: Tensor) -> list[range]:
    """Ranges of the rows of x, about equal."""
    rows, entries = x.shape[-2], BLOCK_ENTRIES.get(x.device.type)
    some = rows if entries is None or x.numel() <= entries else max(1, rows // -(-x.numel() // entries))
    return [range(start, min(rows, start + some)) for start in range(0, rows, max(1, some))]


def rectangles(taps: Taps, query: Tensor, key: Tensor, rows: range) -> Iterator[tuple[int, Rectangle, Rectangle]]:
    """`tap, there, here` for every tap that leads inside the map from some position in `rows` of the query grid.

    `query[..., *there]` are these positions. `key[..., *here]`, of the same size, is where the tap leads from them.
    """
    for tap, (row, column) in enumerate(taps.offsets):
        vertical = along(row, key.shape[-2], taps.stride, rows)
        horizontal = along(column, key.shape[-1], taps.stride, range(query.shape[-1]))
        if vertical and horizontal:
            yield tap, (vertical[0], horizontal[0]), (vertical[1], horizontal[1])


def along(offset: int, length: int, stride: int, positions: range) -> tuple[slice, slice] | None:
    """The query `positions` p with `0 <= stride p + offset < length`, and the positions `stride p + offset`."""
    start = max(positions.start, -(offset // stride))
    stop = min(positions.stop, (length - 1 - offset) // stride + 1)
    if start >= stop:
        return None
    return slice(start, stop), slice(stride * start + offset, stride * (stop - 1) + offset + 1, stride)
