"""Operations that keep only their arguments for the backward pass and compute everything else again."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function


class Recomputed(Function):
    """Base of the operations here. The last argument is the `Spec` or `Window`; the others are tensors or None."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        *tensors, ctx.taps = inputs
        ctx.save_for_backward(*tensors)
