"""The small ResNet of the embedded experiments, for images of 32x32 and one CPU core."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lightning_xvol.backbones.strides import place_strides
from lightning_xvol.errors import UserError


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a batch norm after each (paper, Fig. 2 d). An operator replaces `conv2`."""

    def __init__(self, in_channels: int, width: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        result: torch.Tensor = self.relu(x + shortcut)
        return result


class BasicBlock(nn.Module):
    """3x3, 3x3 with a batch norm after each (paper, Fig. 2 c). An operator replaces `conv2`."""

    def __init__(self, in_channels: int, width: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(in_channels, out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        result: torch.Tensor = self.relu(self.bn2(self.conv2(x)) + shortcut)
        return result


def _downsample(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


BLOCKS = {"bottleneck": Bottleneck, "basic": BasicBlock}


class SmallResNet(nn.Module):
    """A 3x3 stem of stride 2 and four stages `layer1`..`layer4` of residual blocks.

    The network has plain 3x3 convolutions; `replace_operators` puts an operator in.

    Args:
        num_classes: length of the logits.
        in_channels: of the image.
        stem_width: channels after the stem.
        block: `bottleneck` is the block of ResNet-50, `basic` that of ResNet-18 and -34.
        blocks: number of blocks in each stage.
        widths: channels at the 3x3 of each stage.
        strides: stride of the first block of each stage.
        expansion: a stage of width w has `expansion * w` channels at its output.
        stem_pool: adds a 3x3 max pool of stride 2 after the stem, as in ResNet-50. The first level of a detector's
            pyramid then has stride 4.
        stride_in_1x1: a bottleneck strides in its first 1x1 (the paper's stride-1 operator, 6.1.2), not in the 3x3.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 3,
        stem_width: int = 16,
        block: str = "bottleneck",
        blocks: Sequence[int] = (2, 1, 1, 1),
        widths: Sequence[int] = (16, 16, 32, 32),
        strides: Sequence[int] = (1, 2, 1, 2),
        expansion: int = 2,
        *,
        stem_pool: bool = False,
        stride_in_1x1: bool = True,
    ) -> None:
        super().__init__()
        if block not in BLOCKS:
            raise UserError(f"block={block!r} of small_resnet must be one of {', '.join(BLOCKS)}")
        for option, values in {"blocks": blocks, "widths": widths, "strides": strides}.items():
            if len(values) != 4 or min(values) < 1:
                raise UserError(f"{option}={tuple(values)} of small_resnet must be four numbers, each at least 1")
        sizes = {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "stem_width": stem_width,
            "expansion": expansion,
        }
        for option, value in sizes.items():
            if value < 1:
                raise UserError(f"{option}={value} of small_resnet must be at least 1")
        self.conv1 = nn.Conv2d(in_channels, stem_width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem_pool else nn.Identity()
        channels = stem_width
        stages = []
        for count, width, stride in zip(blocks, widths, strides, strict=True):
            stage = []
            for number in range(count):
                stage.append(BLOCKS[block](channels, width, expansion * width, stride if number == 0 else 1))
                channels = expansion * width
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        initialise(self)
        place_strides(self, stride_in_1x1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` to logits `[B, num_classes]`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))  # [B, stem_width, ceil(H/2), ceil(W/2)] without pool
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # [B, expansion * widths[3], ceil(H/8), ceil(W/8)]
        logits: torch.Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def initialise(module: nn.Module) -> None:
    """He's initialisation of every convolution below `module`, as in torchvision's ResNet.

    Batch norms and linear layers keep torch's own initialisation.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
