"""torchvision's ResNets as classifiers (paper, 4.1 and Table 5), with a choice of stem for small images."""

from __future__ import annotations

from collections.abc import Callable

from torchvision.models import resnet

from lightning_xvol.backbones.stem import set_stem
from lightning_xvol.errors import UserError


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
    for option, value in {"num_classes": num_classes, "in_channels": in_channels}.items():
        if value < 1:
            raise UserError(f"{option}={value} of {factory.__name__} must be at least 1")
    model = factory(weights=None, num_classes=num_classes)
    set_stem(model, stem, model_channels=3, in_channels=in_channels, what=factory.__name__)
    return model
