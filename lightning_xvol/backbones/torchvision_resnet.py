"""torchvision's ResNets as classifiers (paper, 4.1 and Table 5), with a choice of stem for small images."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torchvision.models import resnet

from lightning_xvol.backbones.small_resnet import initialise
from lightning_xvol.errors import UserError

STEMS = ("imagenet", "small")


def resnet18(num_classes: int, in_channels: int = 3, stem: str = "imagenet") -> resnet.ResNet:
    """ResNet-18. `stem` is `imagenet` (7x7 of stride 2, max pool) or, for 32x32, `small` (3x3 of stride 1, no pool)."""
    return _build(resnet.resnet18, num_classes, in_channels, stem)


def resnet34(num_classes: int, in_channels: int = 3, stem: str = "imagenet") -> resnet.ResNet:
    """ResNet-34, the paper's BasicBlock network. `stem` as in `resnet18`."""
    return _build(resnet.resnet34, num_classes, in_channels, stem)


def resnet50(num_classes: int, in_channels: int = 3, stem: str = "imagenet") -> resnet.ResNet:
    """ResNet-50, the paper's Bottleneck network (Table 5). `stem` as in `resnet18`."""
    return _build(resnet.resnet50, num_classes, in_channels, stem)


def resnet101(num_classes: int, in_channels: int = 3, stem: str = "imagenet") -> resnet.ResNet:
    """ResNet-101. `stem` as in `resnet18`."""
    return _build(resnet.resnet101, num_classes, in_channels, stem)


def _build(factory: Callable[..., resnet.ResNet], num_classes: int, in_channels: int, stem: str) -> resnet.ResNet:
    if stem not in STEMS:
        raise UserError(f"stem={stem!r} of {factory.__name__} must be one of {', '.join(STEMS)}")
    for option, value in {"num_classes": num_classes, "in_channels": in_channels}.items():
        if value < 1:
            raise UserError(f"{option}={value} of {factory.__name__} must be at least 1")
    model = factory(weights=None, num_classes=num_classes)
    width = model.conv1.out_channels
    if stem == "small":
        model.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif in_channels != 3:
        model.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
    else:
        return model
    initialise(model.conv1)
    return model
