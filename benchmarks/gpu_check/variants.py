"""The variants of the kernels and the maps on which they are tried. Importing this module does not load torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

FORMS = ("dot", "hadamard")
FORMATS = ("channels_last", "contiguous")
SHAPE = (64, 256, 56, 56)
DISTANCES = (1, 3, 5)
HEADS = 4

SHIPPED = "as shipped"
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    SHIPPED: {},
    # The size of tiles, and the number of threads that share a tile.
    "8 warps": {"warps": 8},
    "2 warps": {"warps": 2},
    "4 warps for heads": {"warps_of_heads": 4},
    "32 bytes a thread": {"thread_bytes": 32},
    "8 bytes a thread": {"thread_bytes": 8},
    "8 warps, 32 bytes": {"warps": 8, "thread_bytes": 32},
    "64 channels": {"channels": 64},
    "16 channels": {"channels": 16},
    "8 entries a thread": {"thread_entries": 8},
    "2 entries a thread": {"thread_entries": 2},
    "2048 runs": {"runs": 2048},
    # The positions of a tile. A rectangle shares more of its neighbours than a row does.
    "4x16": {"tile": (4, 16)},
    "8x8": {"tile": (8, 8)},
    "8x8, 32 bytes": {"tile": (8, 8), "thread_bytes": 32},
    # How backward adds up and is divided.
    "position sums": {"position_sums": True},
    "position sums, 8 bytes": {"position_sums": True, "thread_bytes": 8},
    "split": {"split": True},
    "split, position sums": {"split": True, "position_sums": True},
    "8x8, split, position sums": {"tile": (8, 8), "split": True, "position_sums": True},
    # The memory format.
    "converted": {"converts": True},
    "converted, 8x8": {"converts": True, "tile": (8, 8)},
}
"""The fields of `lightning_xvol.kernels.tiles.Variant` in which each variant differs from the shipped one."""


def use(name: str) -> AbstractContextManager[None]:
    """Launch the kernels with the variant `name` within a block."""
    from lightning_xvol.kernels import tiles

    return tiles.use(tiles.Variant(**VARIANTS[name]))


def spec(form: str) -> Any:
    """The `Spec` with the taps and heads of the measurements."""
    from lightning_xvol.kernels.spec import Spec

    return Spec(form, DISTANCES, num_heads=HEADS)


def empty(form: str, memory_format: str, shape: Sequence[int], device: str) -> list[Any]:
    """Query, key and value in bfloat16, `[B, C, H, W]`, and the weights of `form`. Their values are not set.

    So on a CPU they take no memory until someone writes to them.
    """
    import torch

    layout = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    maps = [torch.empty(*shape, device=device, dtype=torch.bfloat16, memory_format=layout) for _ in range(3)]
    return [*maps, torch.empty(HEADS if form == "dot" else shape[1], 8 * len(DISTANCES), device=device)]
