"""Weights store which convolution of a bottleneck strides."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from lightning_xvol.backbones import build_backbone, place_strides, replace_operators
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.errors import UserError


def small(stride_in_1x1: bool) -> nn.Module:
    return build_backbone(BackboneConfig(stride_in_1x1=stride_in_1x1), OperatorConfig("xvolution"), num_classes=4)


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_weights_load_into_a_model_with_the_same_stride(stride_in_1x1: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, other = small(stride_in_1x1).eval(), small(stride_in_1x1).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(other(x), model(x))
        assert torch.equal(copy.deepcopy(model)(x), model(x))
    buffer = io.BytesIO()
    torch.save(model, buffer)


def test_averaged_and_converted_copies_keep_the_mark() -> None:
    model = small(True)
    average = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    for _ in range(3):
        average.update_parameters(model)
    model.load_state_dict(average.module.state_dict())
    small(True).load_state_dict(nn.SyncBatchNorm.convert_sync_batchnorm(model.to(torch.bfloat16)).state_dict())


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_weights_of_the_other_stride_raise(stride_in_1x1: bool, strict: bool) -> None:
    weights = small(not stride_in_1x1).state_dict()
    message = (
        f"made with stride_in_1x1={not stride_in_1x1} and the model has stride_in_1x1={stride_in_1x1} "
        rf"\(at layer2\.0\); build the model with stride_in_1x1={not stride_in_1x1}"
    )
    with pytest.raises(UserError, match=message):
        small(stride_in_1x1).load_state_dict(weights, strict=strict)


def test_weights_of_the_other_stride_raise_in_torchvisions_networks_too() -> None:
    def make(stride_in_1x1: bool | None) -> nn.Module:
        model = torchvision.models.resnet50(weights=None, num_classes=2)
        replace_operators(model, "pssa", stride_in_1x1=stride_in_1x1)
        return model

    moved, left = make(True), make(None)
    with pytest.raises(UserError, match=r"layer4\.0"):
        left.load_state_dict(moved.state_dict())
    make(False).load_state_dict(left.state_dict())
    # A plain torchvision ResNet refuses them because of their keys.
    with pytest.raises(RuntimeError, match="Unexpected key"):
        torchvision.models.resnet50(weights=None, num_classes=2).load_state_dict(moved.state_dict())


def test_plain_weights_load_into_a_network_with_moved_strides() -> None:
    plain = torchvision.models.resnet50(weights=None, num_classes=2)
    model = torchvision.models.resnet50(weights=None, num_classes=2)
    paths = replace_operators(model, "convolution", stride_in_1x1=True)
    keys = model.load_state_dict(plain.state_dict(), strict=False)
    assert keys.unexpected_keys == [f"{path}.weight" for path in paths]
    marks = ["layer4.0.stride_mark.in_1x1"]
    assert sorted(keys.missing_keys) == sorted([f"{path}.conv.weight" for path in paths] + marks)
    assert torch.equal(model.layer4[0].conv1.weight, plain.layer4[0].conv1.weight)


def test_place_strides_moves_every_bottleneck_and_back() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet50(weights=None)
    strided = ["layer2.0", "layer3.0", "layer4.0"]
    assert place_strides(model, True) == strided
    assert [model.get_submodule(path).conv1.stride for path in strided] == [(2, 2)] * 3
    assert [model.get_submodule(path).conv2.stride for path in strided] == [(1, 1)] * 3
    assert place_strides(model, False) == strided
    assert [model.get_submodule(path).conv1.stride for path in strided] == [(1, 1)] * 3
    assert [model.get_submodule(path).conv2.stride for path in strided] == [(2, 2)] * 3
    assert not model.layer4[0].stride_mark.value
    with torch.device("meta"):
        assert place_strides(torchvision.models.resnet18(weights=None), True) == []


def test_uneven_strides_are_refused() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet50(weights=None)
    model.layer4[0].conv2.stride = (2, 1)
    with pytest.raises(UserError, match=r"layer4\.0 has stride \(1, 1\) in conv1 and \(2, 1\) in conv2"):
        replace_operators(model, "pssa")
