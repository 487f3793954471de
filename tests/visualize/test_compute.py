"""The numbers of the figures equal numbers that are known by other means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_xvol import fuse
from lightning_xvol.backbones.receptive_field import effective_receptive_field, positions, side_with, steps
from lightning_xvol.kernels.spec import DIRECTIONS
from lightning_xvol.operators import build_operator
from lightning_xvol.visualize.content import default_pixels
from lightning_xvol.visualize.dynamic_kernel import atomic_form, windows
from lightning_xvol.visualize.tap_weights import find_pssa, tap_weights


def test_the_field_of_a_3x3_convolution_is_its_kernel() -> None:
    conv = nn.Conv2d(2, 5, 3, padding=1)
    field, centre = effective_receptive_field(nn.Sequential(conv), conv, torch.randn(4, 2, 9, 12))
    expected = torch.zeros(9, 12)
    expected[3:6, 5:8] = conv.weight.detach().sum(0).abs().sum(0)
    assert centre == (4, 6)
    torch.testing.assert_close(field, expected)
    assert side_with(field, centre, 1.0) == 3


def test_two_convolutions_and_a_stride_reach_farther() -> None:
    first, second = nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.Conv2d(3, 2, 3, padding=1)
    field, centre = effective_receptive_field(
        nn.Sequential(first, second, nn.ReLU(True)), second, torch.randn(2, 1, 16, 16)
    )
    assert centre == (8, 8)
    reached = field.nonzero()
    assert reached.min(0).values.tolist() == [5, 5] and reached.max(0).values.tolist() == [11, 11]
    assert side_with(field, centre, 1.0) == 7 and side_with(field, centre, 0.0) == 1


def test_the_field_of_an_average_and_of_a_wider_square() -> None:
    field = torch.zeros(9, 9)
    field[4, 4], field[4, 6] = 3.0, 1.0
    assert [side_with(field, (4, 4), share) for share in (0.5, 0.75, 0.76)] == [1, 1, 5]


def test_positions_of_a_map_are_the_nearest_to_the_pixels() -> None:
    images, map_ = torch.zeros(1, 1, 32, 30), torch.zeros(1, 8, 8, 8)
    assert steps(images, map_) == (4, 4)
    assert positions(images, map_, [(0, 0), (31, 29), (17, 5), (18, 2)]) == [(0, 0), (7, 7), (4, 1), (4, 0)]
    assert default_pixels(32, 32) == [(16, 16), (16, 4), (4, 16)]


@pytest.mark.parametrize("form", ["dot", "hadamard", "hadamard_no_value", "dense"])
def test_without_tap_weights_the_dynamic_kernel_is_the_static_one(form: str) -> None:
    operator = build_operator("xvolution", 4, 6, form=form).eval()
    x, at = torch.randn(4, 9, 9), [(4, 4), (0, 8)]
    moving = windows(fuse(operator), x, at)
    nn.init.zeros_(operator.attention.tap_weight)
    still = windows(fuse(operator), x, at)
    assert moving.reach == still.reach == 5 and moving.static is not None and still.static is not None
    attention = torch.zeros(11, 11, dtype=torch.bool)
    for distance in (1, 3, 5):
        for down, right in DIRECTIONS:
            attention[5 + distance * down, 5 + distance * right] = True
    taps = attention | ~still.static.isnan()
    for kernel in still.dynamic:
        torch.testing.assert_close(kernel[taps], still.static[taps].nan_to_num())
        assert kernel[~taps].isnan().all()
    assert not torch.allclose(moving.dynamic[0].nan_to_num(), moving.dynamic[1].nan_to_num())
    assert not torch.allclose(moving.dynamic[0].nan_to_num(), moving.static.nan_to_num())


def test_the_static_kernel_is_that_of_the_convolutions() -> None:
    """Both have a tap at the centre; the kernel there is the norm of their sum."""
    operator = build_operator("xvolution", 4, 6).eval()
    branch: Any = operator.convolution
    found = windows(fuse(operator), torch.randn(4, 9, 9), [(4, 4)]).static
    scale = (1 + branch.norm.eps) ** -0.5
    assert found is not None
    expected = (branch.conv.weight[:, :, 1, 1] + branch.dilated_conv.weight[:, :, 2, 2]).norm() * scale
    torch.testing.assert_close(found[5, 5], expected.detach())
    torch.testing.assert_close(found[1, 9], branch.dilated_conv.weight[:, :, 0, 4].norm().detach() * scale)


def test_self_attention_reaches_over_its_map_and_involution_over_its_window() -> None:
    x = torch.randn(4, 5, 6)
    attention = windows(fuse(build_operator("self_attention", 4, 6).eval()), x, [(0, 0), (4, 5)])
    assert attention.static is None and attention.reach == 5
    assert attention.dynamic[0][5:10, 5:].isfinite().all() and attention.dynamic[0].isfinite().sum() == 30
    assert windows(fuse(build_operator("involution", 4, 4).eval()), x, [(2, 2)]).reach == 3


@pytest.mark.parametrize("name", ["convolution", "multi_convolution"])
def test_static_operators_have_no_dynamic_kernel(name: str) -> None:
    assert atomic_form(build_operator(name, 4, 4)) == "the kernel of this operator is the same for every input"


def test_an_operator_of_unknown_structure_says_so() -> None:
    reason = atomic_form(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)))
    assert isinstance(reason, str) and "cannot be written" in reason


def test_tap_weights_of_heads_are_the_parameters_in_rings() -> None:
    operator = build_operator("xvolution", 4, 8, num_heads=4, shift_distances=(3, 1), centre=True)
    pssa = find_pssa(operator)
    assert pssa is not None
    found = tap_weights(pssa)
    assert found.signed and found.distances == (1, 3) and found.rings.shape == (4, 2, 8)
    offsets = pssa.spec.offsets
    for ring, distance in enumerate(found.distances):
        for direction, (down, right) in enumerate(DIRECTIONS):
            expected = pssa.tap_weight[:, offsets.index((distance * down, distance * right))]
            assert torch.equal(found.rings[:, ring, direction], expected)
    assert found.centre is not None and torch.equal(found.centre, pssa.tap_weight[:, -1])


@pytest.mark.parametrize("form", ["hadamard", "dense", "static_dense"])
def test_tap_weights_of_channels_are_root_mean_squares(form: str) -> None:
    pssa = find_pssa(build_operator("pssa", 4, 6, form=form))
    assert pssa is not None
    found = tap_weights(pssa)
    assert not found.signed and found.rings.shape == (1, 3, 8) and found.centre is None
    torch.testing.assert_close(found.rings[0, 2, 5], pssa.tap_weight[:, 21].detach().square().mean().sqrt())
    assert find_pssa(build_operator("involution", 4, 4)) is None
