"""When the plain form of an operation runs in the place of the fast one, and derivatives of derivatives.

A fast form is an autograd function with written-out gradients. PyTorch cannot differentiate such gradients again, and
it knows neither a forward mode nor a batching rule for them. The plain form consists of PyTorch's own operations, so
it has all three. It takes over

* under the transforms of `torch.func` (`jvp`, `vmap`, `grad`, ...) and in forward mode (`transformed`),
* in a backward pass with `create_graph=True` (`differentiable`),
* in most functions while compiling.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lightning_xvol.kernels.spec import no_autocast

Backward = Callable[..., tuple[Tensor | None, ...]]


def transformed() -> bool:
    """Whether a transform of `torch.func` or forward mode is active. A compiler brings its own transforms."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def plain_wanted() -> bool:
    """Whether an operation that has a plain form for compilers takes it."""
    return torch.compiler.is_compiling() or transformed()


def differentiable(plain: Callable[..., Tensor]) -> Callable[[Backward], Backward]:
    """Let a written-out backward pass be differentiated again.

    The backward pass itself runs without gradients. Under `create_graph=True` autograd derives the gradients from
    `plain` instead, which is called with the saved tensors and `ctx.taps`.
    """

    def decorate(backward: Backward) -> Backward:
        @functools.wraps(backward)
        def either(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            if torch.is_grad_enabled() and not torch.compiler.is_compiling():
                form = functools.partial(_call, plain, ctx.taps)
                grads = gradients(form, ctx.saved_tensors, ctx.needs_input_grad, grad)
                return *grads, *[None] * (len(ctx.needs_input_grad) - len(grads))
            with torch.no_grad():
                return backward(ctx, grad)

        return either

    return decorate


def gradients(
    plain: Callable[..., Tensor], inputs: Sequence[Tensor | None], wanted: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """The gradients of `plain(*inputs)`, themselves differentiable; None where `wanted` is false."""
    with torch.enable_grad(), no_autocast(grad):
        # Views of their own: one input may be computed from another, and each gradient is that of its own place alone.
        aliases = [None if x is None else x.view_as(x) for x in inputs]
        places = [index for index, x in enumerate(aliases) if x is not None and wanted[index]]
        of: Any = [aliases[index] for index in places]
        found = torch.autograd.grad(plain(*aliases), of, grad, create_graph=True, materialize_grads=True)
    result: list[Tensor | None] = [None] * len(inputs)
    for index, value in zip(places, found, strict=True):
        result[index] = value
    return result


def _call(plain: Callable[..., Tensor], taps: Any, *tensors: Tensor | None) -> Tensor:
    return plain(*tensors, taps)
