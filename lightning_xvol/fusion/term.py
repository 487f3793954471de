"""The dynamic half of Eq. 9, `sum_i w^A_i(x_0, x_i) x_i`: the base class of its terms, and their projections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.fusion.static import Offset, Static

# Up to this many entries of x one convolution computes all projections. Above, each projection is one convolution: the
# pieces of a single one are not contiguous, and oneDNN is slow at some of its sizes. One CPU thread, float32, ms for
# one convolution, for one with contiguous pieces / for three:
#   [64, 16, 8, 8]     0.17, 0.20 / 0.27
#   [64, 64, 4, 4]     0.33, 0.37 / 0.44
#   [8, 512, 7, 7]     8.6, 9.2 / 8.8
#   [8, 64, 56, 56]    7.8, 9.5 / 8.7
#   [1, 512, 25, 42]   21, 20 / 18
#   [8, 512, 25, 42]   199, 206 / 165
# On other devices one convolution is one launch (not measured).
STACKED_ENTRIES = {"cpu": 2**17}

Tensors = Mapping[str, Tensor]
Position = tuple[int, int]  # row and column of the output


class Term(ABC):
    """A term is a frozen dataclass of plain values. It gets its tensors as an argument, since the module holds them.

    The tensors come in two arrangements. Folding and `kernel` use them apart, each projection by itself. The module
    keeps them stacked, with some projections in one tensor, and `__call__` computes with those.
    """

    @abstractmethod
    def __call__(self, x: Tensor, stacked: Tensors) -> Tensor:
        """`[B, C_in, H, W]` to `[B, C_out, H', W']`."""

    @abstractmethod
    def macs(self, height: int, width: int, stacked: Tensors) -> int:
        """Multiplications per image, counted as `Operator.macs` counts them."""

    @abstractmethod
    def scaled(self, tensors: Tensors, scale: Tensor) -> dict[str, Tensor]:
        """The tensors of this term after its output is multiplied by `scale`, `[C_out]`."""

    @abstractmethod
    def offsets(self, size: tuple[int, int] | None = None, position: Position | None = None) -> tuple[Offset, ...]:
        """The taps. A term that reaches over the whole map needs the size of the map and the output position."""

    @abstractmethod
    def kernel(self, image: Tensor, position: Position, tensors: Tensors) -> Tensor:
        """w^A at `position` for the image `[C_in, H, W]`: `[C_out, C_in, T]`, in the order of `offsets`."""

    def without_static(
        self, tensors: Tensors, statics: Sequence[Static]
    ) -> tuple[list[Static], Term | None, dict[str, Tensor]]:
        """Split off the part that does not depend on the input, where this adds no work.

        Returns:
            The kernels of this part, the remaining term (None where nothing remains) and the tensors of that term.
        """
        return [], self, dict(tensors)

    def stack(self, tensors: Tensors) -> dict[str, Tensor]:
        """Stack the separate tensors. A term without projections on one grid has nothing to stack."""
        return dict(tensors)

    def unstack(self, stacked: Tensors) -> dict[str, Tensor]:
        """Separate the stacked tensors."""
        return dict(stacked)


@dataclass(frozen=True)
class Projections:
    """The 1x1 convolutions of x that make query, key and value. Those on one grid are stacked as `projection`.

    A strided query reads fewer positions than key and value. Stacked with them it would cost `stride ** 2` times as
    much, so it stays apart.

    Attributes:
        in_channels: the channels of x.
        rows: name and number of rows of each.
        query_stride: the stride of the query.
    """

    in_channels: int
    rows: tuple[tuple[str, int], ...]  # pairs, since a dataclass with a dict has no hash
    query_stride: int

    @classmethod
    def of(cls, tensors: Tensors, query_stride: int) -> Projections:
        """The projections among `tensors`, each `[rows, C_in, 1, 1]`."""
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
        """The number of rows of each projection in `projection`."""
        return [rows for name, rows in self.rows if name in self.together]

    def stack(self, tensors: Tensors) -> dict[str, Tensor]:
        stacked = {name: tensor for name, tensor in tensors.items() if name not in self.together}
        return {"projection": torch.cat([tensors[name] for name in self.together])} | stacked

    def unstack(self, stacked: Tensors) -> dict[str, Tensor]:
        pieces = dict(zip(self.together, stacked["projection"].split(self.sizes), strict=True))
        return pieces | {name: tensor for name, tensor in stacked.items() if name != "projection"}

    def __call__(self, x: Tensor, stacked: Tensors) -> dict[str, Tensor | None]:
        """Query, key and value, `[B, C, H, W]`, with the query on the strided grid. A missing one is None."""
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
    """The pixels at `offsets` around `centre`, zero outside: `[C, H, W]` to `[C, T]`."""
    height, width = image.shape[1:]
    row = torch.tensor([centre[0] + down for down, _ in offsets], device=image.device)
    column = torch.tensor([centre[1] + right for _, right in offsets], device=image.device)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return image[:, row.clamp(0, height - 1), column.clamp(0, width - 1)] * inside
