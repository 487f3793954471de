"""Small ResNets of torchvision and timm. Without timm a test that asks for one of timm's is skipped."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import resnet


def timm_or_skip() -> Any:
    """The package timm, which is there for development only."""
    return pytest.importorskip("timm", reason="timm, whose ResNets this test takes, is not installed")


def small_resnet(source: str, block: str) -> nn.Module:
    """A ResNet in eval mode with two blocks in its last stage, the same every time.

    Args:
        source: "torchvision", without a third stage, or "timm", with few channels.
        block: "basic" or "bottleneck".
    """
    return copy.deepcopy(_template(source, block))


@functools.cache
def _template(source: str, block: str) -> nn.Module:
    torch.manual_seed(0)
    layers = [1, 1, 1, 2]
    if source == "timm":
        timm = timm_or_skip()
        kinds = {"basic": timm.models.resnet.BasicBlock, "bottleneck": timm.models.resnet.Bottleneck}
        made: nn.Module = timm.models.ResNet(kinds[block], layers, num_classes=3, channels=(8, 8, 16, 16), stem_width=8)
        return made.eval()
    kind = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}[block]
    model = resnet.ResNet(kind, layers, num_classes=3)
    model.layer3 = nn.Identity()  # the early stages only take time
    model.inplanes = 128 * kind.expansion
    model.layer4 = model._make_layer(kind, 32, 2, stride=2)
    model.fc = nn.Linear(32 * kind.expansion, 3)
    return model.eval()
