"""Parameters and multiply-adds equal numbers computed by hand and numbers that torchvision publishes."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from lightning_xvol.backbones import build_backbone, count_macs, count_parameters, place_strides, replace_operators
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.errors import UserError
from lightning_xvol.operators import build_operator


@pytest.mark.parametrize("name", ["ResNet18", "ResNet34", "ResNet50", "ResNet101"])
def test_costs_are_those_that_torchvision_publishes(name: str) -> None:
    meta = getattr(torchvision.models, f"{name}_Weights").IMAGENET1K_V1.meta
    with torch.device("meta"):
        model = torchvision.models.get_model(name.lower(), weights=None)
    assert count_parameters(model) == meta["num_params"]
    assert count_macs(model, (3, 224, 224)) / 1e9 == pytest.approx(meta["_ops"], abs=1e-3)


def test_the_stride_in_the_1x1_saves_multiply_adds_in_resnet50() -> None:
    """Three 1x1 work on a quarter of the positions. They save 3/4 of 56^2 256 128, 28^2 512 256 and 14^2 1024 512."""
    with torch.device("meta"):
        model = torchvision.models.resnet50(weights=None)
    before = count_macs(model, (3, 224, 224))
    place_strides(model, True)
    saved = 3 * (56 * 56 * 256 * 128 + 28 * 28 * 512 * 256 + 14 * 14 * 1024 * 512) // 4
    assert before == 4_089_184_256
    assert count_macs(model, (3, 224, 224)) == before - saved


def test_a_small_network_has_the_costs_computed_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1),  # 5x4 positions, 8 channels, 9 taps of 4 channels
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=4),  # 5x4 positions, 8 channels, 3 taps of 2 channels
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )
    assert count_macs(model, (4, 9, 7)) == 20 * 8 * 36 + 20 * 8 * 6 + 24
    assert count_parameters(model) == (8 * 36 + 8) + 16 + (8 * 6 + 8) + 27


def test_operators_count_by_their_own_formula() -> None:
    with torch.device("meta"):
        plain = torchvision.models.resnet50(weights=None)
    model = torchvision.models.resnet50(weights=None)
    replace_operators(model, "xvolution")
    macs = count_macs(plain, (3, 193, 257))
    for stride, (height, width) in [(2, (13, 17)), (1, (7, 9)), (1, (7, 9))]:
        macs += build_operator("xvolution", 512, 512, stride).macs(height, width) - 7 * 9 * 512 * 512 * 9
    assert count_macs(model, (3, 193, 257)) == macs


def test_a_layer_that_does_not_run_on_the_meta_device_is_counted_too() -> None:
    class Branching(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input * 2) if input.sum().item() > 1 else super().forward(input)

    assert count_macs(nn.Sequential(nn.Conv2d(3, 2, 1), Branching(2, 4, 3)), (3, 8, 8)) == 64 * 6 + 36 * 8 * 9


def test_an_operator_alone_is_counted_and_a_layer_that_runs_twice_counts_twice() -> None:
    operator = build_operator("pssa", 8, 8)
    assert count_macs(operator, (8, 6, 5)) == operator.macs(6, 5)
    linear = nn.Linear(7, 7)
    assert count_macs(nn.Sequential(linear, linear), (3, 5, 7)) == 2 * 15 * 49
    assert count_parameters(nn.Sequential(linear, linear)) == 56


def test_counting_leaves_the_model_alone() -> None:
    torch.manual_seed(0)
    model = build_backbone(BackboneConfig(), OperatorConfig("xvolution"), 4).double().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert count_macs(model, (3, 32, 32)) == count_macs(model.float(), (3, 32, 32))
    model.double()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("shape", [(3, 32), (3, 0, 32), (1, 3, 32, 32)])
def test_a_wrong_image_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="must be \\(channels, height, width\\)"):
        count_macs(nn.Identity(), shape)
