"""`build_backbone` builds the small ResNet, torchvision's ResNets and backbones by import path."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_xvol.backbones import build_backbone, count_parameters
from lightning_xvol.backbones.small_resnet import SmallResNet
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.errors import UserError

CONVOLUTION = OperatorConfig("convolution")


def operators(model: nn.Module) -> list[str]:
    # X-volution's branches are operators too.
    return [path for path, module in model.named_modules() if hasattr(module, "macs") and path.endswith(".conv2")]


@pytest.mark.parametrize("stride_in_1x1", [True, False])
@pytest.mark.parametrize("name", ["convolution", "xvolution", "pssa"])
def test_small_resnet_takes_images_of_any_size(name: str, stride_in_1x1: bool) -> None:
    torch.manual_seed(0)
    model = build_backbone(BackboneConfig(stride_in_1x1=stride_in_1x1), OperatorConfig(name), 4)
    assert operators(model) == ["layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2"]
    for size in [(32, 32), (33, 47), (5, 1)]:
        y = model(torch.randn(2, 3, *size))
        assert y.shape == (2, 4)
        y.sum().backward()
    strides = [block.conv2.stride for block in (model.layer2[0], model.layer3[0], model.layer4[0])]
    assert strides == ([1, 1, 1] if stride_in_1x1 else [2, 1, 2])


def test_small_resnet_has_maps_of_the_declared_sizes() -> None:
    """The stem has 16 channels at half size. Strides are 1, 2, 1, 2; a stage's output is twice as wide as its 3x3."""
    model = SmallResNet(4)
    shapes = []
    for name in ("conv1", "layer1", "layer2", "layer3", "layer4"):
        model.get_submodule(name).register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[1:])))
    model(torch.randn(2, 3, 32, 32))
    assert shapes == [(16, 16, 16), (32, 16, 16), (32, 8, 8), (64, 8, 8), (64, 4, 4)]
    assert [len(stage) for stage in (model.layer1, model.layer2, model.layer3, model.layer4)] == [2, 1, 1, 1]
    assert not any(isinstance(module, nn.MaxPool2d) for module in model.modules())
    shapes.clear()
    pooled = SmallResNet(4, strides=(1, 2, 2, 2), stem_pool=True)
    for name in ("conv1", "layer1", "layer2", "layer3", "layer4"):
        pooled.get_submodule(name).register_forward_hook(lambda _, __, y: shapes.append(tuple(y.shape[2:])))
    pooled(torch.randn(2, 3, 64, 64))
    assert shapes == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]


@pytest.mark.parametrize(("kernel_size", "parameters"), [(1, 26292), (3, 44724), (5, 81588), (7, 136884), (9, 210612)])
def test_small_resnet_has_the_parameters_of_the_trial(kernel_size: int, parameters: int) -> None:
    """The numbers of parameters in the first trial of the kernel-size sweep, on images of one channel."""
    operator = OperatorConfig("convolution", {"kernel_size": kernel_size})
    model = build_backbone(BackboneConfig(), operator, num_classes=4, in_channels=1)
    assert count_parameters(model) == parameters


def test_small_resnet_is_initialised_as_in_torchvision() -> None:
    torch.manual_seed(0)
    model = SmallResNet(4, blocks=(1, 1, 1, 1), widths=(64, 64, 64, 64))
    weight = model.layer2[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert all(module.weight.eq(1).all() for module in model.modules() if isinstance(module, nn.BatchNorm2d))


def test_the_blocks_batch_norm_and_relu_follow_the_operator() -> None:
    model = build_backbone(BackboneConfig(), OperatorConfig("xvolution"), 4)
    seen = []
    block = model.layer3[0]
    for name in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3"):
        block.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    block.relu.register_forward_hook(lambda *_: seen.append("relu"))
    model(torch.randn(2, 3, 32, 32))
    assert seen == ["conv1", "bn1", "relu", "conv2", "bn2", "relu", "conv3", "bn3", "relu"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": (2, 1, 1)}, r"blocks=\(2, 1, 1\) of small_resnet must be four numbers"),
        ({"strides": (1, 2, 0, 2)}, r"strides=\(1, 2, 0, 2\)"),
        ({"stem_width": 0}, "stem_width=0 of small_resnet must be at least 1"),
        ({"width": 3}, "has no option 'width'"),
    ],
)
def test_small_resnet_refuses_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_backbone(BackboneConfig(options=options), CONVOLUTION, 4)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_torchvisions_resnets_take_an_operator(name: str) -> None:
    model = build_backbone(BackboneConfig(name, stages=(5,)), OperatorConfig("pssa"), 7).eval()
    assert len(operators(model)) == {"resnet18": 2}.get(name, 3)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).shape == (1, 7)
    # `stride_in_1x1` applies to the whole network, so that networks differ in operator and stages only.
    assert model.layer2[0].conv1.stride == (2, 2)


def test_the_small_stem_keeps_the_size_of_the_image() -> None:
    with torch.device("meta"):
        model = build_backbone(BackboneConfig("resnet18", (5,), options={"stem": "small"}), CONVOLUTION, 10, 1)
        sizes = []
        for name in ("layer1", "layer4"):
            model.get_submodule(name).register_forward_hook(lambda _, __, y: sizes.append(tuple(y.shape[2:])))
        assert model(torch.randn(2, 1, 32, 32)).shape == (2, 10)
    assert sizes == [(32, 32), (4, 4)]


def test_the_imagenet_stem_takes_other_numbers_of_channels() -> None:
    torch.manual_seed(0)
    model = build_backbone(BackboneConfig("resnet18", (5,)), CONVOLUTION, 10, in_channels=5)
    assert model.conv1.weight.shape == (64, 5, 7, 7)
    assert model.conv1.weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)
    with pytest.raises(UserError, match="stem='tiny' of resnet18 must be one of imagenet, small"):
        build_backbone(BackboneConfig("resnet18", (5,), options={"stem": "tiny"}), CONVOLUTION, 10)
    with pytest.raises(UserError, match="num_classes=0 of resnet18"):
        build_backbone(BackboneConfig("resnet18", (5,)), CONVOLUTION, 0)


def test_a_backbone_by_import_path() -> None:
    path = "lightning_xvol.backbones.small_resnet:SmallResNet"
    model = build_backbone(BackboneConfig(path, options={"expansion": 4}), CONVOLUTION, 4)
    assert model.fc.in_features == 128
    with pytest.raises(UserError, match=r"does not take .*unexpected keyword argument 'depth'"):
        build_backbone(BackboneConfig(path, options={"depth": 4}), CONVOLUTION, 4)
    with pytest.raises(UserError, match=r"does not take .*missing a required argument: 'in_features'"):
        build_backbone(BackboneConfig("torch.nn:Linear"), CONVOLUTION, 4)
    with pytest.raises(UserError, match=r"unknown backbone 'resnet5'.*did you mean"):
        build_backbone(BackboneConfig("resnet5"), CONVOLUTION, 4)


def test_the_same_seed_gives_the_same_network() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_backbone(BackboneConfig(), OperatorConfig("xvolution"), 4).state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
