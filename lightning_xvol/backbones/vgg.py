"""VGG-13 with batch norm (Simonyan and Zisserman 2015, configuration B): a network without shortcuts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lightning_xvol.backbones.small_resnet import initialise
from lightning_xvol.errors import UserError


class Pair(nn.Module):
    """Two 3x3 convolutions with a batch norm after each. An operator replaces `conv2`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        y: torch.Tensor = self.relu(self.bn2(self.conv2(x)))
        return y


class VGG13(nn.Module):
    """Five pairs of 3x3 convolutions with a 2x2 max pool between them: `stem`, then the stages `layer1`..`layer4`.

    Stage 5 corresponds to the paper's conv5_x, as in a ResNet. The head is a global average pool and one linear layer.
    The original has a last max pool and two hidden layers of 4096 instead, which hold nine tenths of its parameters.

    Args:
        num_classes: length of the logits.
        in_channels: of the image.
        widths: channels of the five pairs.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, widths: Sequence[int] = (64, 128, 256, 512, 512)
    ) -> None:
        super().__init__()
        if len(widths) != 5 or min(widths) < 1:
            raise UserError(f"widths={tuple(widths)} of vgg13 must be five numbers, each at least 1")
        for option, value in {"num_classes": num_classes, "in_channels": in_channels}.items():
            if value < 1:
                raise UserError(f"{option}={value} of vgg13 must be at least 1")
        channels = (in_channels, *widths)
        self.stem = Pair(*channels[:2])
        # ceil_mode, so that a map of one pixel stays one pixel.
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(Pair(*channels[stage : stage + 2])) for stage in range(1, 5)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], num_classes)
        initialise(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` to logits `[B, num_classes]`."""
        x = self.stem(image)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(self.pool(x))  # [B, widths[s], ceil(H/2^s), ceil(W/2^s)]
        logits: torch.Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
