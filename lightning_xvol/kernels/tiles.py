"""How the Triton programs cut maps into tiles of channels x positions, and variants that may be faster on a GPU.

Nothing is tuned at run time, because that would break exact resume.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

WARP = 32
MOST_WARPS = 16  # the most warps of a program with rectangular tiles: more leave too few registers for a thread


@dataclass(frozen=True)
class Variant:
    """A way to cut tiles and to order sums. Every run uses `SHIPPED`; `benchmarks.gpu_check` and tests try others.

    Nobody has measured any of them on a GPU. The values of `SHIPPED` keep a thread's values in its registers and, in
    channels_last, its loads at 16 bytes. Another variant may change the last digits of results.

    Attributes:
        warps: the warps of a program. A warp has 32 threads.
        warps_of_heads: the same for `dot` in NCHW. With 64 channels a head, a tile then has 16 neighbouring pixels.
        thread_bytes: the bytes of one map per thread, in channels_last.
        thread_entries: the entries of one map per thread, in NCHW, where each entry has its own address.
        channels: the channels of a tile for `hadamard` in channels_last, because it has no heads.
        runs: the largest number of partial sums of the gradients of the weights. Each program of backward makes one of
            them, from a run of tiles. The default is enough programs for a GPU and needs little memory.
        tile: the rows and columns of a tile, both powers of two. The number of warps follows from them. With None, a
            tile has consecutive positions, and the other attributes say how many.
        position_sums: whether the gradients of the weights have a sum for each position of a tile. A program adds these
            sums up once, at the end of its run. Otherwise it adds the positions up for each tile.
        split: whether backward has two programs, one for the gradients of query and weights, one for key and value.
        converts: whether maps in NCHW are converted to channels_last first, in each pass, and results back.
    """

    warps: int = 4
    warps_of_heads: int = 8
    thread_bytes: int = 16
    thread_entries: int = 4
    channels: int = 32
    runs: int = 512
    tile: tuple[int, int] | None = None
    position_sums: bool = False
    split: bool = False
    converts: bool = False


SHIPPED = Variant()

_in_force = SHIPPED


def in_force() -> Variant:
    """The variant that programs are launched with."""
    return _in_force


@contextlib.contextmanager
def use(variant: Variant) -> Iterator[None]:
    """Launch every program in this block with `variant`."""
    global _in_force
    before, _in_force = _in_force, variant
    try:
        yield
    finally:
        _in_force = before


@dataclass(frozen=True)
class Tiles:
    """The tiles of one launch. The sides of a tile are powers of two.

    Attributes:
        variant: the variant that they follow.
        channels_last: the memory format of the maps.
        per_head: whether the tables have a row per head.
        group: the channels of one program.
        groups: the number of programs along the channels.
        block_c: the channels of a tile.
        block_p: the positions of a tile.
        columns: the columns of a tile; 0 for consecutive positions.
        warps: the warps of a program.
    """

    variant: Variant
    channels_last: bool
    per_head: bool
    group: int
    groups: int
    block_c: int
    block_p: int
    columns: int
    warps: int

    @classmethod
    def of(cls, query: Tensor, weight: Tensor) -> Tiles:
        """The tiles of maps like `query`, `[B, C, H, W]`, by the variant in force. `weight` is `[h, T]` or `[C, T]`.

        T is the number of taps, and h the number of heads.
        """
        variant, channels, rows = in_force(), query.shape[1], weight.shape[0]
        per_head, last = rows != channels, channels_last(query)
        if per_head:
            group, block_c = channels // rows, power_of_2(channels // rows)
        else:
            group = block_c = min(variant.channels, power_of_2(channels)) if last else 1
        entries = WARP * (variant.thread_bytes // query.element_size() if last else variant.thread_entries)
        if variant.tile:
            block_p, columns = variant.tile[0] * variant.tile[1], variant.tile[1]
            warps = min(MOST_WARPS, max(1, block_c * block_p // entries))
        else:
            warps = variant.warps_of_heads if per_head and not last else variant.warps
            block_p, columns = max(1, entries * warps // block_c), 0
        return cls(variant, last, per_head, group, ceil(channels, group), block_c, block_p, columns, warps)

    def count(self, x: Tensor) -> int:
        """The number of tiles along the positions of `x`, `[B, C, H, W]`."""
        images, _, rows, columns = x.shape
        if self.columns:
            return images * ceil(rows, self.block_p // self.columns) * ceil(columns, self.columns)
        return ceil(images * rows * columns, self.block_p)

    @property
    def constants(self) -> dict[str, Any]:
        """The compile-time arguments of every program."""
        return {
            "PER_HEAD": self.per_head,
            "CHANNEL_AXIS": int(self.channels_last),
            "BLOCK_C": self.block_c,
            "BLOCK_P": self.block_p,
            "TILE_COLUMNS": self.columns,
            "num_warps": self.warps,
            "enable_fp_fusion": True,  # Triton 3.9 warns where this is not given
        }


def channels_last(x: Tensor) -> bool:
    """Whether x is in channels_last, for slices and expanded views too. One pixel or one channel counts as NCHW."""
    return x.stride(1) < x.stride(3)


def power_of_2(value: int) -> int:
    """The least power of two that is not below `value`."""
    return 1 << (value - 1).bit_length()


def ceil(value: int, divisor: int) -> int:
    """`value / divisor`, rounded up."""
    return -(-value // divisor)
