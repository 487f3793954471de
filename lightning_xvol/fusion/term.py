"""The dynamic half of Eq. 9, `sum_i w^A_i(x_0, x_i) x_i`: what every attention term answers, and its projections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.fusion.static import Offset, Static

# Up to so many entries of x its projections are one convolution; above, one each from the stacked weights. One gives
# pieces that are not contiguous, and oneDNN does not like all its sizes. One CPU thread, float32, ms of one, and with
# contiguous pieces, against three: [64, 16, 8, 8] 0.17, 0.20 for 0.27; [64, 64, 4, 4] 0.33, 0.37 for 0.44; [8, 512, 7,
# 7] 8.6, 9.2 for 8.8; [8, 64, 56, 56] 7.8, 9.5 for 8.7; [1, 512, 25, 42] 21, 20 for 18; [8, 512, 25, 42] 199, 206 for
# 165. Elsewhere one is one launch (not measured).
STACKED_ENTRIES = {"cpu": 2**17}

Tensors = Mapping[str, Tensor]
Position = tuple[int, int]  # row and column of the output


class Term(ABC):
    """A term is a frozen dataclass of plain values. Its tensors are given to it: the module that holds them is one.

    They come in two arrangements. Folding and `kernel` see them apart, each projection by itself; `stacked` ones, of
    which some projections are one tensor, are what the module keeps and `__call__` computes with.
    """

    @abstractmethod
    def __call__(self, x: Tensor, stacked: Tensors) -> Tensor:
        """`[B, C_in, H, W]` to `[B, C_out, H', W']`."""

    @abstractmethod
    def macs(self, height: int, width: int, stacked: Tensors) -> int:
        """Multiplications per image, counted as `Operator.macs` counts them."""

    @abstractmethod
    def scaled(self, tensors: Tensors, scale: Tensor) -> dict[str, Tensor]:
        """The tensors of this term times `scale`, `[C_out]`."""

    @abstractmethod
    def offsets(self, size: tuple[int, int] | None = None, position: Position | None = None) -> tuple[Offset, ...]:
        """The taps. A term that reaches over the whole map needs its size and the output position."""

    @abstractmethod
    def kernel(self, image: Tensor, position: Position, tensors: Tensors) -> Tensor:
        """w^A at `position` for the image `[C_in, H, W]`: `[C_out, C_in, T]`, in the order of `offsets`."""

    def without_static(
        self, tensors: Tensors, statics: Sequence[Static]
    ) -> tuple[list[Static], Term | None, dict[str, Tensor]]:
        """Kernels for what does not depend on the input, where they are no more work, and the term that is left."""
        return [], self, dict(tensors)

    @abstractmethod
    def stack(self, tensors: Tensors) -> dict[str, Tensor]:
        """From apart to stacked."""

    @abstractmethod
    def unstack(self, stacked: Tensors) -> dict[str, Tensor]:
        """From stacked to apart."""


@dataclass(frozen=True)
class Projections:
    """The 1x1 convolutions of x, name to number of rows; those on one grid are one, called `projection`.

    A strided query reads fewer positions than key and value: stacked with them it would cost `stride ** 2` times.
    """

    in_channels: int
    rows: tuple[tuple[str, int], ...]  # (name, rows): a dataclass that is hashed holds no dict
    query_stride: int

    @classmethod
    def of(cls, tensors: Tensors, query_stride: int) -> Projections:
        """Those among `tensors`, `[rows, C_in, 1, 1]`."""
        rows = tuple((name, len(tensors[name])) for name in ("query", "key", "value") if name in tensors)
        return cls(tensors[rows[0][0]].shape[1], rows, query_stride)

    @property
    def apart(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.rows if name == "query" and self.query_stride > 1)

    @property
    def together(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.rows if name not in self.apart)

    @property
    def sizes(self) -> list[int]:
        """The rows of each in `projection`."""
        return [rows for name, rows in self.rows if name in self.together]

    def stack(self, tensors: Tensors) -> dict[str, Tensor]:
        stacked = {name: tensor for name, tensor in tensors.items() if name not in self.together}
        return {"projection": torch.cat([tensors[name] for name in self.together])} | stacked

    def unstack(self, stacked: Tensors) -> dict[str, Tensor]:
        pieces = dict(zip(self.together, stacked["projection"].split(self.sizes), strict=True))
        return pieces | {name: tensor for name, tensor in stacked.items() if name != "projection"}

    def __call__(self, x: Tensor, stacked: Tensors) -> dict[str, Tensor | None]:
        """Query, key and value `[B, C, H, W]`, the query on the strided grid, None for one that is not there."""
        maps: dict[str, Tensor | None] = dict.fromkeys(("query", "key", "value"))
        maps |= zip(self.together, self._projected(x, stacked["projection"]), strict=True)
        return maps | {name: F.conv2d(x, stacked[name], stride=self.query_stride) for name in self.apart}

    def _projected(self, x: Tensor, projection: Tensor) -> Sequence[Tensor]:
        limit = STACKED_ENTRIES.get(x.device.type)
        if torch.compiler.is_exporting() or limit is None or x.numel() <= limit:
            return F.conv2d(x, projection).split(self.sizes, 1)
        return [F.conv2d(x, weight) for weight in projection.split(self.sizes)]

    def macs(self, height: int, width: int) -> int:
        queries = -(-height // self.query_stride) * -(-width // self.query_stride)
        apart = sum(rows for name, rows in self.rows if name in self.apart)
        return self.in_channels * (sum(self.sizes) * height * width + apart * queries)


def patches(image: Tensor, centre: Position, offsets: Sequence[Offset]) -> Tensor:
    """What lies at `offsets` around `centre`, zero outside: `[C, H, W]` to `[C, T]`."""
    height, width = image.shape[1:]
    row = torch.tensor([centre[0] + down for down, _ in offsets], device=image.device)
    column = torch.tensor([centre[1] + right for _, right in offsets], device=image.device)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return image[:, row.clamp(0, height - 1), column.clamp(0, width - 1)] * inside
