"""The taps that can ever be inside a map, checked against the operators themselves: a dead tap changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xvol.backbones import trace
from lightning_xvol.backbones.taps import count_taps, outside
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.schema import set_value
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.pssa import PSSA
from lightning_xvol.visualize.architecture import describe, to_text


def counts_of(operator, height, width):
    return count_taps(operator, trace(operator, (4, height, width)))


def live_taps_of_pssa(height, width, stride, distances, centre):
    """How many taps have a weight with a gradient that is not zero: whether a tap reads anything but the border."""
    torch.manual_seed(0)
    operator = PSSA(4, 4, form="static_channel", stride=stride, shift_distances=distances, centre=centre).double()
    operator.attend(torch.rand(1, 4, height, width, dtype=torch.double) + 1).square().sum().backward()
    return int((operator.tap_weight.grad.abs().sum(0) > 0).sum())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("distances", "centre"), [((1, 3, 5), False), ((2, 7), True)])
@pytest.mark.parametrize("size", [(1, 1), (2, 9), (4, 4), (5, 6), (6, 5), (8, 8), (7, 1)])
def test_a_tap_counts_as_inside_exactly_if_its_weight_has_a_gradient(size, distances, centre, stride):
    operator = PSSA(4, 4, form="static_channel", stride=stride, shift_distances=distances, centre=centre)
    [count] = counts_of(operator, *size)
    assert (count.kind, count.taps) == ("shifts", 8 * len(distances) + centre)
    assert count.inside == live_taps_of_pssa(*size, stride, distances, centre)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (3, 8), (4, 4), (5, 4), (9, 9)])
def test_the_taps_of_convolutions_count_in_the_same_way(size, stride):
    operator = build_operator("multi_convolution", 4, 4, stride=stride, kernel_size=9)
    found = {count.kind: count for count in counts_of(operator, *size)}
    assert list(found) == ["9x9", "5x5, dilation 2"]
    for convolution in (module for module in operator.modules() if isinstance(module, nn.Conv2d)):
        kind = f"{convolution.kernel_size[0]}x{convolution.kernel_size[0]}" + ", dilation 2" * (
            convolution.dilation[0] > 1
        )
        convolution(torch.rand(1, 4, *size) + 1).square().sum().backward()
        alive = int((convolution.weight.grad.abs().sum((0, 1)) > 0).sum())
        assert found[kind].inside == alive and found[kind].taps == convolution.weight[0, 0].numel()


def test_the_default_strides_leave_distance_5_outside_the_last_map_of_small_images():
    fashion = RECIPES["fashion_small"].config("xvolution", dilated_kernel_size=None)
    assert all(count["inside"] == count["taps"] for count in describe(fashion)["taps"])
    text = to_text(describe(set_value(fashion, "backbone.strides", (1, 2, 1, 2))))
    assert "stage 5, map 4 x 4: 16 of 24 shifts, none at distance 5" in text
    assert "stage 4, map 7 x 7: 24 of 24 shifts\n" in text and text.count("warning:") == 1
    assert "warning:" not in to_text(describe(fashion))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_says_how_many_taps_of_pssa_are_inside(recipe):
    found = [count for count in describe(RECIPES[recipe].config("pssa"))["taps"] if count["kind"] == "shifts"]
    assert found and all(count["taps"] == 24 and 0 < count["inside"] <= 24 for count in found)


def test_operators_without_a_window_have_no_taps():
    assert counts_of(build_operator("self_attention", 4, 4), 8, 8) == []
    [count] = counts_of(build_operator("involution", 4, 4), 3, 3)
    assert count.text() == "the operator, map 3 x 3: 25 of 49 taps of the 7x7, none at distance 3"
    assert outside([count]) == [count.text(" can be inside the map")]
