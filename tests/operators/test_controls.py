"""The controls: their formulas written out, and how close their number of parameters is to that of X-volution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_xvol.operators import build_operator

# Channels, options, and the largest difference in parameters, as a share of X-volution's.
EQUAL = [
    (16, {"dilated_kernel_size": None, "num_heads": 4}, 0.025),
    (32, {"dilated_kernel_size": None, "num_heads": 4}, 0.013),
    (16, {}, 0.008),
    (256, {}, 0.001),
    (256, {"kernel_size": 1, "dilated_kernel_size": None}, 0.002),
]


@pytest.mark.parametrize("name", ["wide_convolution", "xvolution_pointwise"])
@pytest.mark.parametrize(("channels", "options", "share"), EQUAL, ids=str)
def test_parameters_are_those_of_xvolution(name: str, channels: int, options: dict[str, Any], share: float) -> None:
    def count(name: str, in_channels: int) -> int:
        with torch.device("meta"):
            operator = build_operator(name, in_channels, channels, **options)
        return sum(parameter.numel() for parameter in operator.parameters())

    for in_channels in (channels, channels // 2):
        expected = count("xvolution", in_channels)
        assert abs(count(name, in_channels) - expected) <= share * expected, f"{in_channels} to {channels}"


def settled(name: str, stride: int, **options: Any) -> nn.Module:
    """An operator in eval mode whose batch norms have an effect."""
    torch.manual_seed(0)
    operator = build_operator(name, 6, 12, stride, **options).double().eval()
    for norm in operator.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.bias, norm.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return operator


def normed(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    mean, variance, scale, shift = (
        tensor[:, None, None] for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return scale * (x - mean) / (variance + norm.eps).sqrt() + shift


@pytest.mark.parametrize("stride", [1, 2])
def test_controls_equal_their_formulas(stride: int) -> None:
    x = torch.randn(2, 6, 9, 8, dtype=torch.double)

    wide = settled("wide_convolution", stride, kernel_size=5)
    z = normed(F.conv2d(x, wide.hidden.conv.weight, stride=stride, padding=2), wide.hidden.norm)
    close(wide(x), F.conv2d(z.clamp_min(0), wide.hidden.output.weight))

    pointwise = settled("xvolution_pointwise", stride, num_heads=4)
    sampled, hidden = x[:, :, ::stride, ::stride], pointwise.pointwise
    z = normed(F.conv2d(sampled, hidden.conv.weight), hidden.norm).clamp_min(0)
    assert pointwise.xvolution.attention.spec.form == "static"
    close(pointwise(x), pointwise.xvolution(x) + normed(F.conv2d(z, hidden.output.weight), pointwise.norm))

    pair = settled("paired_convolution", stride)
    close(pair(x), pair.convolution(x) + normed(F.conv2d(sampled, pair.pointwise.weight), pair.norm))

    pair = settled("paired_convolution", stride, second_kernel_size=11)
    dense = pair.depthwise.weight * pair.pointwise.weight[:, :, 0, 0, None, None]  # [C, I, 11, 11]
    close(pair(x), pair.convolution(x) + normed(F.conv2d(x, dense, stride=stride, padding=5), pair.norm))

    se = settled("se_convolution", stride, reduction=3)
    z = F.conv2d(x, se.conv.weight, stride=stride, padding=1)
    squeezed = z.mean((2, 3)) @ se.squeeze.weight[:, :, 0, 0].T  # [B, C / r]
    gate = 1 / (1 + (-squeezed.clamp_min(0) @ se.excite.weight[:, :, 0, 0].T).exp())
    assert se.squeeze.weight.shape[0] == 4
    close(se(x), gate[:, :, None, None] * z)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
