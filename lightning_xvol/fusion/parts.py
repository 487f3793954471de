"""An operator in pieces, in float64: static kernels, an attention term and a bias. Folding is arithmetic on these.

Folds run with gradients enabled. So autograd knows what was trainable: a folded tensor requires a gradient exactly
where something it is made of does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightning_xvol.errors import UserError
from lightning_xvol.fusion.static import Static, merged
from lightning_xvol.fusion.term import Term

# Names instead of classes, so that torchvision need not load. A subclass may do something else and is not accepted.
NORMS = (
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.batchnorm.SyncBatchNorm",
    "torchvision.ops.misc.FrozenBatchNorm2d",
)


def type_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def exact(tensor: Tensor) -> Tensor:
    """`tensor` in float64. It stays on its device where that device has float64."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm, which in eval mode is `x -> scale x + shift`: both `[C]`, in float64.

    Raises:
        UserError: for anything but a batch norm with running statistics.
    """
    if type_name(norm) not in NORMS:
        raise UserError(
            f"cannot fold {type_name(norm)}: only BatchNorm2d, SyncBatchNorm and FrozenBatchNorm2d themselves are "
            "known to be a scale and a shift in eval mode"
        )
    if norm.running_mean is None or norm.running_var is None:
        raise UserError(
            f"cannot fold a {type(norm).__name__} with track_running_stats=False: in eval mode too it uses the "
            "statistics of each batch, so no fixed scale can replace it"
        )
    scale = torch.rsqrt(exact(norm.running_var) + norm.eps)
    if norm.weight is not None:  # None: affine=False
        scale = scale * exact(norm.weight)
    shift = -exact(norm.running_mean) * scale
    return scale, shift if norm.bias is None else shift + exact(norm.bias)


@dataclass(frozen=True)
class Parts:
    """`sum of statics + term + bias`.

    Attributes:
        statics: the kernels w^c.
        term: the dynamic half of Eq. 9; None for an operator that is static.
        tensors: the tensors of the term, each projection by itself.
        bias: b, `[C_out]`; None where it is zero.
    """

    statics: tuple[Static, ...] = ()
    term: Term | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    bias: Tensor | None = None

    def normed(self, norm: nn.Module) -> Parts:
        """These parts followed by a batch norm. Its scale goes into the weights, its shift into the bias."""
        scale, shift = affine(norm)
        return Parts(
            statics=tuple(static.scaled(scale) for static in self.statics),
            term=self.term,
            tensors={} if self.term is None else self.term.scaled(self.tensors, scale),
            bias=shift if self.bias is None else self.bias * scale + shift,
        )

    def __add__(self, other: Parts) -> Parts:
        """Two branches in parallel. At most one of them has a term."""
        attention = self if other.term is None else other
        biases = [bias for bias in (self.bias, other.bias) if bias is not None]
        return Parts(
            statics=self.statics + other.statics,
            term=attention.term,
            tensors=attention.tensors,
            bias=sum(biases[1:], start=biases[0]) if biases else None,
        )

    def simplified(self) -> Parts:
        """The same sum. Whatever is static in the term moves into the kernels, where that adds no work."""
        statics, term, tensors = merged(self.statics), self.term, self.tensors
        if term is None:
            return Parts(statics, bias=self.bias)
        found, rest, tensors = term.without_static(tensors, statics)
        return Parts(merged([*statics, *found]), rest, tensors, self.bias)
