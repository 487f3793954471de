"""Self-attention against a written-out softmax and against PyTorch's own module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xvol.operators import build_operator


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("num_heads", [1, 3, 12])
def test_equals_softmax_written_out(num_heads: int, stride: int) -> None:
    operator = build_operator("self_attention", 6, 12, stride, num_heads=num_heads).double()
    for height, width in [(1, 1), (5, 4), (8, 3)]:
        x = torch.randn(2, 6, height, width, dtype=torch.double)
        project = [conv.weight[:, :, 0, 0] for conv in (operator.query, operator.key, operator.value)]
        expected = torch.zeros_like(operator(x))
        d = 12 // num_heads
        for image, head in ((image, head) for image in range(2) for head in range(num_heads)):
            rows = slice(head * d, head * d + d)
            q = project[0][rows] @ x[image, :, ::stride, ::stride].flatten(1)  # [d, M]
            k, v = (weight[rows] @ x[image].flatten(1) for weight in project[1:])  # [d, N]
            logits = q.T @ k / d**0.5  # [M, N]
            attention = logits.exp() / logits.exp().sum(1, keepdim=True)
            expected[image, rows] = (v @ attention.T).view(d, *expected.shape[2:])
        torch.testing.assert_close(operator(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_without_softmax_equals_the_sum_over_all_positions(num_heads: int, stride: int) -> None:
    operator = build_operator("self_attention", 6, 12, stride, num_heads=num_heads, softmax=False).double()
    d = 12 // num_heads
    for height, width in [(1, 1), (5, 4), (16, 15)]:
        x = torch.randn(1, 6, height, width, dtype=torch.double)
        x[:, :, 0] = 0  # the norm of nothing
        q, k, v = (conv.weight[:, :, 0, 0] @ x[0].flatten(1) for conv in (operator.query, operator.key, operator.value))
        expected = torch.zeros(12, height * width, dtype=torch.double)
        for head in range(num_heads):
            rows = slice(head * d, head * d + d)
            cosine = (q[rows] / q[rows].norm(dim=0).clamp_min(1e-3)).T @ (k[rows] / k[rows].norm(dim=0).clamp_min(1e-3))
            expected[rows] = v[rows] @ (d**0.5 * cosine).T / (height * width)
        expected = expected.view(1, 12, height, width)[..., ::stride, ::stride]
        torch.testing.assert_close(operator(x), expected, rtol=1e-10, atol=1e-10)


def test_without_softmax_the_cost_is_linear_in_the_pixels() -> None:
    operator = build_operator("self_attention", 16, 16, num_heads=4, softmax=False)
    assert operator.macs(8, 8) == 64 * (3 * 256 + 2 * 16 * 4)  # q, k, v; k v^T and its product with q, 4 x 4 a head
    assert operator.macs(16, 16) == 4 * operator.macs(8, 8)


def test_with_output_projection_equals_multihead_attention() -> None:
    operator = build_operator("self_attention", 12, 12, num_heads=3, output_projection=True).double()
    attention = nn.MultiheadAttention(12, 3, bias=False, batch_first=True).double()
    with torch.no_grad():
        weights = [conv.weight[:, :, 0, 0] for conv in (operator.query, operator.key, operator.value)]
        attention.in_proj_weight.copy_(torch.cat(weights))
        attention.out_proj.weight.copy_(operator.output.weight[:, :, 0, 0])
    x = torch.randn(2, 12, 5, 7, dtype=torch.double)
    tokens = x.flatten(2).transpose(1, 2)  # [B, N, C]
    expected = attention(tokens, tokens, tokens)[0].transpose(1, 2).view_as(x)
    torch.testing.assert_close(operator(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
def test_fewer_key_channels_are_zero_padded_ones(stride: int) -> None:
    few = build_operator("self_attention", 6, 12, stride, num_heads=1, key_channels=3).double()
    many = build_operator("self_attention", 6, 12, stride, num_heads=1).double()
    with torch.no_grad():
        many.value.weight.copy_(few.value.weight)
        for name in ("query", "key"):
            weight = getattr(many, name).weight.zero_()
            weight[:3] = getattr(few, name).weight * 4**0.25  # sqrt(d) is twice as large
    x = torch.randn(2, 6, 5, 7, dtype=torch.double)
    torch.testing.assert_close(many(x), few(x), rtol=1e-10, atol=1e-10)


def test_commutes_with_permutations_of_the_pixels() -> None:
    operator = build_operator("self_attention", 6, 12).double()
    x = torch.randn(2, 6, 3, 5, dtype=torch.double)
    order = torch.randperm(15)
    permuted = x.flatten(2)[..., order].view_as(x)
    expected = operator(x).flatten(2)[..., order].view(2, 12, 3, 5)
    torch.testing.assert_close(operator(permuted), expected, rtol=1e-10, atol=1e-10)
