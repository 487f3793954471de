"""X-volution with self-attention or involution equals its two branches, built separately, with their batch norms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_xvol.operators import build_operator

CASES: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("xvolution_sa", {}, "self_attention", {}),
    ("xvolution_sa", {"num_heads": 3, "output_projection": True}, "self_attention", {}),
    ("xvolution_sa", {"position_encoding": True, "position_size": 5, "key_channels": 6}, "self_attention", {}),
    ("xvolution_inv", {}, "involution", {}),
    ("xvolution_inv", {"group_channels": 4, "reduction": 2}, "involution", {"kernel_size": 5}),
]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "shared", "attention_name", "own"), CASES, ids=str)
def test_is_the_sum_of_its_branches(
    name: str, shared: dict[str, Any], attention_name: str, own: dict[str, Any], training: bool, stride: int
) -> None:
    renamed = {f"involution_{option}": value for option, value in own.items()}
    whole = build_operator(name, 6, 12, stride, kernel_size=5, **shared, **renamed).double().train(training)
    convolution = build_operator("multi_convolution", 6, 12, stride, kernel_size=5).double().train(training)
    attention = build_operator(attention_name, 6, 12, stride, **shared, **own).double().train(training)
    norm = nn.BatchNorm2d(12).double().train(training)
    for module in (whole.norm, whole.convolution.norm):
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
        nn.init.normal_(module.running_mean)
        nn.init.uniform_(module.running_var, 0.5, 2)
    convolution.load_state_dict(whole.convolution.state_dict())
    attention.load_state_dict(whole.attention.state_dict())
    norm.load_state_dict(whole.norm.state_dict())
    x = torch.randn(2, 6, 9, 7, dtype=torch.double)
    torch.testing.assert_close(whole(x), convolution(x) + norm(attention(x)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["xvolution_sa", "xvolution_inv"])
def test_without_the_dilated_convolution_the_branch_is_one_convolution(name: str) -> None:
    operator = build_operator(name, 6, 12, kernel_size=1, dilated_kernel_size=None)
    assert operator.convolution.dilated_conv is None
    assert operator.convolution.conv.kernel_size == (1, 1)
