"""A stack of operators at one resolution, to measure what stacking alone does."""

from __future__ import annotations

import torch
from torch import nn

from lightning_xvol.backbones.small_resnet import Bottleneck, initialise
from lightning_xvol.errors import UserError


class Stack(nn.Module):
    """A 1x1 stem, `depth` bottlenecks of stride 1 in `layer4`, and a 1x1 head: maps `[B, C, H, W]` to `[B, C', H, W]`.

    `replace_operators` puts the operator in the middle of each bottleneck, as in the paper (Fig. 2). All other layers
    are 1x1, so only the operators mix positions. The head starts at 0, and so does the output.

    Args:
        num_classes: channels of the output.
        in_channels: of the input.
        depth: number of bottlenecks, and so of operators.
        width: channels at the operator.
        expansion: there are `expansion * width` channels between the bottlenecks.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, depth: int = 1, width: int = 8, expansion: int = 2
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "in_channels": in_channels, "depth": depth, "width": width}
        for option, value in {**sizes, "expansion": expansion}.items():
            if value < 1:
                raise UserError(f"{option}={value} of stack must be at least 1")
        channels = expansion * width
        self.conv1 = nn.Conv2d(in_channels, channels, 1)
        self.layer4 = nn.Sequential(*(Bottleneck(channels, width, channels, 1) for _ in range(depth)))
        self.head = nn.Conv2d(channels, num_classes, 1)
        initialise(self.layer4)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, in_channels, H, W]` to `[B, num_classes, H, W]`."""
        y: torch.Tensor = self.head(self.layer4(self.conv1(x)))
        return y
