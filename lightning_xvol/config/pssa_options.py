"""The options of PSSA: their names, defaults and meaning. Nothing here imports torch.

`PSSA` and `XVolution` take these options, and the registry reads their defaults from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lightning_xvol.errors import UserError, nearest


@dataclass(frozen=True)
class PSSAOptions:
    """The options of PSSA with their defaults.

    Attributes:
        form: which formula of PSSA is computed; `operators/pssa.py` lists the forms.
        shift_distances: the distances of the taps, in pixels. There are eight taps at each distance.
        num_heads: the number of heads. None takes the largest divisor of C_out that is at most max(1, C_out // 64).
            `dot`, `softmax` and `static` have one weight per tap and head, and `normalize` takes its norms over the
            channels of a head. Where a form has neither, a number is refused. `dot` with C_out heads and without
            normalisation is `hadamard`; with one head it is Eq. 8.
        head_channels: the number of channels of a head, C_out / num_heads. It chooses the heads by a number that fits
            every width. Give `num_heads` or `head_channels`, not both.
        normalize: whether q becomes `sqrt(d) q / max(|q|_head, 1e-3)`, and k likewise, with d = C_out / num_heads.
            The inner product of `dot` is then divided by sqrt(d). None means True for `dot` and `hadamard` and False
            for the other forms (softmax bounds its weights itself). The static forms refuse True.
        position_encoding: whether a learned bias b_j is added to the product. It starts at 0, so on and off differ in
            nothing else. It needs a form with a product and a value; `softmax` refuses it, since its w_j is such a
            bias.
        centre: whether the position itself is a tap too.
        propagate: whether Eq. 7's outer sum follows: a depthwise 3x3 convolution whose centre is fixed at 1 and whose
            neighbours start at 0.
        frozen_query_key: whether the projections of query and key keep their random start. This is a control that has
            products but has not learned them. The static forms refuse it.
    """

    form: str = "dot"
    shift_distances: tuple[int, ...] = (1, 3, 5)
    num_heads: int | None = None
    head_channels: int | None = None
    normalize: bool | None = None
    position_encoding: bool = False
    centre: bool = False
    propagate: bool = False
    frozen_query_key: bool = False


def pssa_options(options: Mapping[str, Any]) -> PSSAOptions:
    """`options` by name, and the defaults of the others.

    Raises:
        UserError: for an option that PSSA does not have.
    """
    check_names("PSSA", options, [field.name for field in fields(PSSAOptions)])
    return PSSAOptions(**options)


def check_names(owner: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuse an option that `owner` does not have.

    Raises:
        UserError: with the nearest name and the known ones.
    """
    for name in options:
        if name not in known:
            raise UserError(
                f"{owner} has no option {name!r}{nearest(name, known)}; it has: {', '.join(known) or 'none'}"
            )
