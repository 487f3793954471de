"""AA-convolution against the listing of its paper, and the depths of its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_xvol.operators import build_operator
from lightning_xvol.operators.aa_convolution import AAConvolution


def build(in_channels: int, out_channels: int, stride: int = 1, **options: Any) -> AAConvolution:
    """A float64 operator without tables of zeros."""
    operator = build_operator("aa_convolution", in_channels, out_channels, stride, **options).double()
    assert isinstance(operator, AAConvolution)
    if operator.attention.positions is not None:
        for parameter in operator.attention.positions.parameters():
            nn.init.normal_(parameter)
    return operator


def by_listing(operator: AAConvolution, x: Tensor) -> Tensor:
    """The paper's algorithm for a map of side `position_size`: relative logits by padding and reshaping."""
    attention = operator.attention
    heads, side = attention.num_heads, x.shape[2]
    q, k, v = (F.conv2d(x, conv.weight) for conv in (attention.query, attention.key, attention.value))
    q, k, v = (z.unflatten(1, (heads, -1)).permute(0, 1, 3, 4, 2) for z in (q, k, v))  # [B, h, H, W, d]
    q = q * q.shape[-1] ** -0.5
    logits = q.flatten(2, 3) @ k.flatten(2, 3).transpose(2, 3)
    logits = logits + logits_1d(q, attention.positions.columns).flatten(4).flatten(2, 3)
    turned = logits_1d(q.transpose(2, 3), attention.positions.rows)  # [B, h, W, H, W, H]
    logits = logits + turned.permute(0, 1, 3, 2, 5, 4).flatten(4).flatten(2, 3)
    y = (logits.softmax(-1) @ v.flatten(2, 3)).unflatten(2, (side, side))  # [B, h, H, W, d]
    y = F.conv2d(y.permute(0, 1, 4, 2, 3).flatten(1, 2), attention.output.weight)
    return torch.cat([F.conv2d(x, operator.conv.weight, padding=1), y], 1)


def logits_1d(q: Tensor, table: Tensor) -> Tensor:
    """`rel_to_abs(q r^T)` along the second spatial axis: `[B, h, H, W, H, W]`, the same for all key rows."""
    side = q.shape[3]
    relative = q @ table.t()  # [B, h, H, W, 2 W - 1]
    relative = F.pad(relative, (0, 1)).flatten(3)  # [B, h, H, 2 W W]
    relative = F.pad(relative, (0, side - 1)).unflatten(3, (side + 1, 2 * side - 1))
    absolute = relative[..., :side, side - 1 :]  # [B, h, H, W, W]
    return absolute.unsqueeze(4).expand(-1, -1, -1, -1, side, -1)


@pytest.mark.parametrize("num_heads", [1, 4])
def test_equals_the_listing_of_its_paper(num_heads: int) -> None:
    options = {"num_heads": num_heads, "value_ratio": 0.5, "position_encoding": True, "position_size": 5}
    operator = build(6, 16, **options)
    x = torch.randn(2, 6, 5, 5, dtype=torch.double)
    torch.testing.assert_close(operator(x), by_listing(operator, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
def test_is_a_convolution_beside_self_attention(stride: int) -> None:
    operator = build(6, 20, stride, num_heads=2, value_ratio=0.4)
    attention = build_operator("self_attention", 6, 8, stride, num_heads=2, key_channels=40, output_projection=True)
    attention.double().load_state_dict(operator.attention.state_dict())
    x = torch.randn(2, 6, 7, 6, dtype=torch.double)
    expected = torch.cat([F.conv2d(x, operator.conv.weight, None, stride, 1), attention(x)], 1)
    torch.testing.assert_close(operator(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("out_channels", "options", "depths"),
    [
        (512, {}, (160, 48)),  # 8 heads: 0.2 * 512 / 8 = 12.8 is below 20 a head; 0.1 * 512 / 8 = 6.4
        (512, {"min_key_channels": 1}, (104, 48)),
        (2048, {"num_heads": 8}, (408, 208)),
        (64, {"key_ratio": 1, "value_ratio": 1}, (64, 64)),
        (16, {"num_heads": 4}, (80, 4)),
        (1, {}, (20, 1)),
    ],
)
def test_depths(out_channels: int, options: dict[str, Any], depths: tuple[int, int]) -> None:
    operator = build(8, out_channels, **options)
    assert (operator.attention.key_channels, operator.attention.out_channels) == depths
    rest = out_channels - depths[1]
    assert (operator.conv is None) == (rest == 0)
    assert operator.conv is None or operator.conv.out_channels == rest
