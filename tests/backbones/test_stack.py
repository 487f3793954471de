"""The backbone `stack`: only its operators mix positions."""

from __future__ import annotations

import pytest
import torch

from lightning_xvol.backbones import build_backbone
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.errors import UserError


def build(depth: int, operator: OperatorConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_backbone(BackboneConfig("stack", stages=(5,), options={"depth": depth}), operator, 5, in_channels=3)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize(("operator", "options", "reach"), [
    ("convolution", {"kernel_size": 1}, 0), ("convolution", {}, 1), ("pssa", {"shift_distances": (1, 2)}, 2),
])  # fmt: skip
def test_an_output_sees_as_far_as_the_operators_reach(operator: str, options: dict, reach: int, depth: int) -> None:
    model = build(depth, OperatorConfig(operator, options)).eval()
    torch.nn.init.ones_(model.head.weight)
    x = torch.rand(1, 3, 17, 15, requires_grad=True)
    y = model(x)
    assert y.shape == (1, 5, 17, 15)
    y[0, :, 8, 7].sum().backward()
    rows, columns = x.grad[0].abs().sum(0).nonzero().T
    assert (rows - 8).abs().max() == (columns - 7).abs().max() == depth * reach


def test_its_output_starts_at_zero_and_each_block_has_an_operator() -> None:
    model = build(4, OperatorConfig("pssa"))
    assert not model(torch.randn(2, 3, 6, 5)).any()
    assert [type(block.conv2).__name__ for block in model.layer4] == ["PSSA"] * 4


@pytest.mark.parametrize("option", ["depth", "width", "expansion"])
def test_sizes_below_one_are_refused(option: str) -> None:
    with pytest.raises(UserError, match=f"{option}=0 of stack"):
        build_backbone(BackboneConfig("stack", stages=(5,), options={option: 0}), OperatorConfig(), 5)
