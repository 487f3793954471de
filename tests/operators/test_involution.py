"""Every path of involution against the unfolding of Algorithm 1 of its paper."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.measure import kept_bytes
from lightning_xvol import kernels
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.involution import Involution


def build(stride: int = 1, in_channels: int = 6, out_channels: int = 12, **options: Any) -> Involution:
    """A float64 involution whose biases have an effect."""
    torch.manual_seed(0)
    operator = build_operator("involution", in_channels, out_channels, stride, **options).double()
    assert isinstance(operator, Involution)
    nn.init.normal_(operator.span.bias)
    nn.init.normal_(operator.norm.bias)
    return operator


def by_unfolding(operator: Involution, x: Tensor) -> Tensor:
    """Algorithm 1 with our two additions: the 1x1 mapping, and smaller blocks at the end of odd sides."""
    size, stride, groups = operator.window.kernel_size, operator.stride, operator.groups
    rows, columns = range(0, x.shape[2], stride), range(0, x.shape[3], stride)
    pooled = torch.stack(
        [torch.stack([x[..., i : i + stride, j : j + stride].mean((2, 3)) for j in columns], -1) for i in rows], -2
    )  # [B, C_in, H', W']
    kernel = operator.span(operator.norm(operator.reduce(pooled)).relu())
    kernel = kernel.view(len(x), groups, 1, size**2, len(rows), len(columns))
    value = x if operator.initial is None else operator.initial(x)
    unfolded = F.unfold(value, size, padding=size // 2, stride=stride)
    unfolded = unfolded.view(len(x), groups, -1, size**2, len(rows), len(columns))
    return (kernel * unfolded).sum(3).flatten(1, 2)


def results(operator: Involution, x: Tensor, forward: Any) -> dict[str, Tensor]:
    operator, x = copy.deepcopy(operator), x.clone().requires_grad_()
    y = forward(operator, x)
    y.backward(torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1)))
    return {"output": y.detach(), "input": x.grad, **{name: p.grad for name, p in operator.named_parameters()}}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("in_channels", "options"),
    [(6, {}), (12, {"group_channels": 4}), (12, {"kernel_size": 3, "reduction": 1}), (6, {"kernel_size": 1})],
    ids=str,
)
def test_every_path_equals_unfolding(in_channels: int, options: dict[str, Any], stride: int) -> None:
    operator = build(stride, in_channels, **options)
    for size in [(1, 1), (2, 9), (7, 6)]:
        x = torch.randn(2, in_channels, *size, dtype=torch.double)
        expected = results(operator, x, by_unfolding)
        for path in ("reference", "matrix", "shifts", "gathered"):
            with kernels.force(path):
                found = results(operator, x, Involution.__call__)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
def test_path_chosen_by_size_equals_unfolding(stride: int) -> None:
    operator = build(stride, 4, 8)
    for size in [(16, 16), (16, 17)]:  # at and past the limit
        x = torch.randn(2, 4, *size, dtype=torch.double)
        torch.testing.assert_close(operator(x), by_unfolding(operator, x), rtol=1e-10, atol=1e-10)


def test_generation_is_that_of_the_source() -> None:
    operator = build_operator("involution", 64, 64)
    assert operator.initial is None
    assert operator.reduce.weight.shape == (16, 64, 1, 1) and operator.reduce.bias is None
    assert operator.span.weight.shape == (49 * 4, 16, 1, 1) and operator.span.bias is not None
    assert build_operator("involution", 3, 2, reduction=8).reduce.out_channels == 1


def test_large_maps_keep_only_input_and_kernels() -> None:
    operator, x = build_operator("involution", 32, 32), torch.randn(2, 32, 24, 24, requires_grad=True)
    kernel = operator.generate(x).detach().requires_grad_()
    assert kept_bytes(lambda: kernels.involution(x, kernel, operator.window), [x, kernel]) == 0
