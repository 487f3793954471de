"""Relative logits against a loop over pairs of pixels, and the behaviour of the tables."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_xvol import kernels
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.relative_positions import RelativePositions


def tables(reach: int, channels: int = 4) -> RelativePositions:
    """Float64 tables of random vectors."""
    positions = RelativePositions(channels, reach).double()
    for parameter in positions.parameters():
        nn.init.normal_(parameter)
    return positions


def entry(table: Tensor, offset: int, length: int) -> Tensor:
    """The vector at `offset` on a side of `length`. NumPy stretches the table where it is too short."""
    reach = (len(table) + 1) // 2
    position = offset * min(1.0, (reach - 1) / max(1, length - 1)) + reach - 1
    columns = table.detach().numpy().T
    return torch.tensor([np.interp(position, np.arange(len(table)), column) for column in columns])


def logits_by_pixel(query: Tensor, positions: RelativePositions, size: tuple[int, int], stride: int) -> Tensor:
    """`<q_i, r^H + r^W> / sqrt(d)` for every pair, from `[B, h, H', W', d]`: `[B, h, M, N]`."""
    batch, heads, rows, columns, d = query.shape
    logits = query.new_zeros(batch, heads, rows, columns, *size)
    for i, j, y, x in itertools.product(range(rows), range(columns), range(size[0]), range(size[1])):
        vertical = entry(positions.rows, y - stride * i, size[0])
        horizontal = entry(positions.columns, x - stride * j, size[1])
        logits[:, :, i, j, y, x] = query[:, :, i, j] @ (vertical + horizontal) / d**0.5
    return logits.flatten(4).flatten(2, 3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("reach", [1, 2, 4, 5, 9])
def test_equal_loops_over_pairs(reach: int, stride: int) -> None:
    positions = tables(reach)
    for height, width in [(1, 1), (4, 3), (2, 5)]:
        query = torch.randn(2, 3, -(-height // stride), -(-width // stride), 4, dtype=torch.double)
        expected = logits_by_pixel(query, positions, (height, width), stride)
        torch.testing.assert_close(positions(query, (height, width), stride), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("reach", [2, 6])
def test_gradients_equal_those_of_the_reference(reach: int) -> None:
    found = []
    for path in ("shifts", "reference"):
        torch.manual_seed(0)
        positions, query = tables(reach), torch.randn(2, 3, 3, 2, 4, dtype=torch.double, requires_grad=True)
        with kernels.force(path):
            logits = positions(query, (5, 4), 2)
        (logits * torch.randn_like(logits)).sum().backward()
        found.append((query.grad, positions.rows.grad, positions.columns.grad))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("position_size", [9, 7, 3])
def test_attention_equals_multihead_attention_with_that_mask(position_size: int) -> None:
    options = {"num_heads": 3, "output_projection": True, "position_encoding": True, "position_size": position_size}
    operator = build_operator("self_attention", 12, 12, **options).double()
    operator.positions = tables(position_size)
    x = torch.randn(2, 12, 5, 7, dtype=torch.double)
    attention = nn.MultiheadAttention(12, 3, bias=False, batch_first=True).double()
    with torch.no_grad():
        weights = [conv.weight[:, :, 0, 0] for conv in (operator.query, operator.key, operator.value)]
        attention.in_proj_weight.copy_(torch.cat(weights))
        attention.out_proj.weight.copy_(operator.output.weight[:, :, 0, 0])
        query = operator.query(x).unflatten(1, (3, 4)).permute(0, 1, 3, 4, 2)  # [B, h, H, W, d]
        mask = logits_by_pixel(query, operator.positions, (5, 7), 1).flatten(0, 1)  # [B h, N, N]
    tokens = x.flatten(2).transpose(1, 2)  # [B, N, C]
    expected = attention(tokens, tokens, tokens, attn_mask=mask)[0].transpose(1, 2).view_as(x)
    torch.testing.assert_close(operator(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["self_attention", "aa_convolution", "xvolution_sa"])
def test_an_operator_starts_the_same_with_and_without_positions(name: str) -> None:
    x = torch.randn(2, 6, 9, 8)
    found = []
    for options in ({}, {"position_encoding": True}):
        torch.manual_seed(0)
        found.append(build_operator(name, 6, 12, **options)(x))
    torch.testing.assert_close(found[1], found[0])


def test_a_short_table_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    operator = build_operator("self_attention", 6, 12, position_encoding=True, position_size=8)
    with caplog.at_level(logging.WARNING):
        operator(torch.randn(1, 6, 8, 8))
        assert not caplog.messages
        for size in [(3, 9), (12, 5)]:
            operator(torch.randn(1, 6, *size))
    (message,) = caplog.messages
    assert "position_size=8 are stretched over a map of 3 x 9" in message


def test_weights_fit_every_input_size() -> None:
    options: dict[str, Any] = {"position_encoding": True, "position_size": 4}
    shapes = []
    for size in [(2, 2), (9, 5)]:
        operator = build_operator("self_attention", 6, 12, num_heads=3, **options)
        operator(torch.randn(1, 6, *size))
        shapes.append({name: tensor.shape for name, tensor in operator.state_dict().items()})
    assert shapes[0] == shapes[1]
    assert shapes[0]["positions.rows"] == (7, 4)


@pytest.mark.parametrize("position_size", [4, 64])
def test_exports_with_dynamic_sizes_on_either_side_of_the_table(position_size: int) -> None:
    options = {"position_encoding": True, "position_size": position_size}
    operator = build_operator("self_attention", 6, 12, 2, **options).eval()
    operator.positions = tables(position_size, 12).float()
    sides = {2: torch.export.Dim("H", min=4, max=128), 3: torch.export.Dim("W", min=4, max=128)}
    program = torch.export.export(operator, (torch.randn(1, 6, 14, 12),), dynamic_shapes=(sides,)).module()
    for size in [(7, 9), (21, 16)]:
        x = torch.randn(1, 6, *size)
        torch.testing.assert_close(program(x), operator(x))
