"""Every operator over a grid: batch, map, stride, mode, and derivatives up to the second.

The oracle is the literal reference on which the same operator runs (`kernels.force`), in float64.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vmap

from lightning_xvol import fuse, kernels
from lightning_xvol.fusion.folds import FOLDS, KEPT
from lightning_xvol.operators.convolution import Convolution

CHANNELS = 4, 8


def modes(case: Any, stride: int) -> dict[str, nn.Module]:
    """The operator in float64 in training mode, in eval mode and, where it folds, fused."""
    train = case.build(*CHANNELS, stride).double()
    found = {"train": train, "eval": copy.deepcopy(train).eval()}
    if type(train) in FOLDS and type(train) not in (*KEPT, Convolution):
        found["fused"] = fuse(found["eval"])
    return found


def derivatives(operator: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, the gradients of a penalty's first term, and those of a gradient penalty."""
    generator = torch.Generator().manual_seed(1)
    x = x.detach().clone().requires_grad_()
    learned = [x, *(parameter for parameter in operator.parameters() if parameter.requires_grad)]
    y = operator(x)
    weight = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    first = torch.autograd.grad((y * weight).sum() + y.square().sum(), learned, create_graph=True)
    plain = torch.autograd.grad((y * weight).sum() + y.square().sum(), learned, retain_graph=True)
    penalty = torch.stack([value.square().sum() for value in first]).sum()
    second = torch.autograd.grad(penalty, learned, allow_unused=True)
    zeros = [torch.zeros_like(place) if value is None else value for value, place in zip(second, learned, strict=True)]
    return [y, *plain, *first, *zeros]


def agree(found: list[Tensor], expected: list[Tensor], what: str) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape and a.isfinite().all(), what
        if a.numel():
            assert (a - b).abs().max() <= 1e-8 * b.abs().max().clamp_min(1), what


@pytest.mark.parametrize(
    ("stride", "size"), [(1, 1), (2, 1), (1, 8), (2, 8), (2, 24), pytest.param(1, 24, marks=pytest.mark.slow)]
)
def test_grid(case: Any, stride: int, size: int) -> None:
    for mode, operator in modes(case, stride).items():
        norms = any(isinstance(module, nn.BatchNorm2d) for module in operator.modules())
        side = -(-size // stride)
        for batch in (0, 1, 3):
            what = f"{mode}, batch {batch}"
            x = torch.randn(batch, CHANNELS[0], size, size, dtype=torch.double)
            if mode == "train" and norms and batch * side * side == 1:
                with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
                    operator(x)  # PyTorch's batch norm has no variance of one value
                continue
            found = derivatives(operator, x)
            assert found[0].shape == (batch, CHANNELS[1], side, side), what
            with kernels.force("reference"):
                agree(found, derivatives(operator, x), what)
            with torch.no_grad():
                agree([operator(x)], found[:1], what)


@pytest.mark.parametrize("size", [8, 17])
def test_forward_mode_vmap_and_gradients_per_sample(case: Any, size: int) -> None:
    for mode, operator in modes(case, stride=1).items():
        if mode == "train":
            continue  # the statistics of a batch norm are no function of one sample
        x, direction = torch.randn(2, 3, CHANNELS[0], size, size, dtype=torch.double)
        y, tangent = jvp(operator, (x,), (direction,))
        probe = torch.randn_like(y)
        _, back = torch.autograd.functional.vjp(operator, x, probe)
        agree([y, (tangent * probe).sum()], [operator(x), (direction * back).sum()], f"jvp, {mode}")
        with torch.autograd.forward_ad.dual_level():
            dual = operator(torch.autograd.forward_ad.make_dual(x, direction))
            agree([torch.autograd.forward_ad.unpack_dual(dual).tangent], [tangent], f"forward mode, {mode}")

        parameters = dict(operator.named_parameters())

        def loss(weights: dict[str, Tensor], image: Tensor, operator: nn.Module = operator) -> Tensor:
            return functional_call(operator, weights, (image[None],)).square().sum()

        per_sample = vmap(grad(loss), in_dims=(None, 0))(parameters, x)
        for index in range(len(x)):
            expected = torch.autograd.grad(operator(x[index : index + 1]).square().sum(), list(parameters.values()))
            agree([per_sample[name][index] for name in parameters], list(expected), f"per sample, {mode}")
        twins = {name: torch.stack([value, 2 * value]) for name, value in parameters.items()}
        both = vmap(lambda weights: functional_call(operator, weights, (x,)))(twins)  # noqa: B023
        agree([both[0]], [operator(x)], f"an ensemble, {mode}")
        operator(x).sum().backward()  # no transformed tensor has stayed in a cache
