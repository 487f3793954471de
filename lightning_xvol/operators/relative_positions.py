"""Relative position encoding of the global attention operators: 2D relative logits.

Paper: Attention Augmented Convolutional Networks (arXiv 1904.09925), section 3, and Stand-Alone Self-Attention in
Vision Models (arXiv 1906.05909). As there, height and width each have a table with one vector per offset, shared by the
heads. The products of the query with these vectors are scaled like its products with the keys. We differ in two points:

* The tables start at zero, where the papers have a normal start. So an operator starts the same with and without
  position encoding, and offsets that training never met add nothing instead of noise.
* The tables hold the offsets of a side of `position_size` at every input size, so weights fit at every resolution. On a
  longer side a table is stretched (linearly, ends aligned). This is logged, except from a compiled model.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from lightning_xvol import kernels
from lightning_xvol.errors import UserError
from lightning_xvol.operators import checks

DEFAULT_SIZE = 32  # no map of stages 3 to 5 at 224 pixels is larger, and none of the embedded network

log = logging.getLogger(__name__)


class RelativePositions(nn.Module):
    """`<q_i, r^H_(j - i) + r^W_(j - i)>_head / sqrt(d)` for tables of `2 position_size - 1` vectors of `channels`.

    Raises:
        UserError: for a `position_size` that is not a positive integer.
    """

    def __init__(self, channels: int, position_size: int = DEFAULT_SIZE) -> None:
        super().__init__()
        self.position_size = checks.positive_int("position_size", position_size)
        self.rows = nn.Parameter(torch.empty(2 * position_size - 1, channels))
        self.columns = nn.Parameter(torch.empty(2 * position_size - 1, channels))
        self.reported = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Both tables at zero."""
        nn.init.zeros_(self.rows)
        nn.init.zeros_(self.columns)

    def forward(self, query: Tensor, size: tuple[int, int], stride: int) -> Tensor:
        """Logits `[B, h, M, N]` of queries `[B, h, H', W', d]`, every `stride`-th position of the map `size` = H, W."""
        if not torch.compiler.is_compiling():  # true while exporting too, where the size is not known
            self._report(size)
        return kernels.relative_logits(query, self.rows, self.columns, size, stride)

    def _report(self, size: tuple[int, int]) -> None:
        """Log once that the tables are too short."""
        if max(size) > self.position_size and not self.reported:
            self.reported = True
            log.warning(
                "relative positions for position_size=%d are stretched over a map of %d x %d (logged once); "
                "to train on such maps set position_size to their longest side",
                self.position_size,
                *size,
            )

    def extra_repr(self) -> str:
        return f"channels={self.rows.shape[1]}, position_size={self.position_size}"


def relative_positions(position_encoding: bool, position_size: int | None, channels: int) -> RelativePositions | None:
    """The tables that the options of an operator ask for. A `position_size` of None is `DEFAULT_SIZE`.

    Raises:
        UserError: for a `position_size` without `position_encoding`.
    """
    if checks.boolean("position_encoding", position_encoding):
        return RelativePositions(channels, DEFAULT_SIZE if position_size is None else position_size)
    if position_size is not None:
        raise UserError(f"position_size={position_size!r} does nothing with position_encoding=False; leave it out")
    return None
