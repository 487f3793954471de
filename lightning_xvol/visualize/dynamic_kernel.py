"""The dynamic kernel `w^A + w^c` of Eq. 9 of the paper at single positions, and its static part `w^c`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_xvol.backbones.receptive_field import Pixel
from lightning_xvol.errors import UserError
from lightning_xvol.fusion import AtomicXVolution, fuse
from lightning_xvol.fusion.pssa_term import PSSATerm
from lightning_xvol.fusion.static import Offset
from lightning_xvol.operators.convolution import Convolution

STATIC = "the kernel of this operator is the same for every input"


@dataclass(frozen=True)
class Windows:
    """Frobenius norms over the channels of each tap: `[2 reach + 1, 2 reach + 1]` around x_0, NaN without a tap.

    Attributes:
        static: of w^c alone; None if the operator has no static part.
        dynamic: of w^A + w^c, for each position.
        reach: distance of the outermost tap.
    """

    static: Tensor | None
    dynamic: list[Tensor]
    reach: int


def atomic_form(operator: nn.Module) -> AtomicXVolution | str:
    """The operator as a dynamic convolution, or the reason why there is none to show."""
    if isinstance(operator, Convolution):
        return STATIC
    try:
        atomic: Any = fuse(operator.eval())
    except UserError as error:
        return f"it cannot be written as one ({error})"
    if not isinstance(atomic, AtomicXVolution):  # a class of somebody's own around an operator of ours
        return f"it cannot be written as one (what {type(operator).__name__} does around its operator is not known)"
    if atomic.term is None or (isinstance(atomic.term, PSSATerm) and not atomic.term.form.product):
        return STATIC
    return atomic


@torch.no_grad()
def windows(atomic: AtomicXVolution, x: Tensor, positions: Sequence[Pixel]) -> Windows:
    """The kernels at `positions` of the output for one input map x `[C_in, H, W]`."""
    taps = [atomic.offsets(x, position) for position in positions]
    kernels = [atomic.kernel(x, position)[0] for position in positions]
    statics = [(static.offsets, static.weight.flatten(2)) for static in atomic.statics()]
    offsets = [*(offsets for offsets, _ in statics), *taps]
    reach = max(max(abs(down), abs(right)) for group in offsets for down, right in group)
    return Windows(
        static=window(statics, reach) if statics else None,
        dynamic=[window([(at, kernel)], reach) for at, kernel in zip(taps, kernels, strict=True)],
        reach=reach,
    )


def window(kernels: Sequence[tuple[Sequence[Offset], Tensor]], reach: int) -> Tensor:
    """The norm of the sum of kernels `[C_out, C_in, T]` at each tap: `[2 reach + 1, 2 reach + 1]`."""
    sums: dict[Offset, Tensor] = {}
    for offsets, weight in kernels:
        for tap, offset in enumerate(offsets):
            sums[offset] = sums[offset] + weight[:, :, tap] if offset in sums else weight[:, :, tap]
    result = torch.full((2 * reach + 1, 2 * reach + 1), torch.nan)
    for (down, right), weight in sums.items():
        result[reach + down, reach + right] = weight.norm()
    return result
