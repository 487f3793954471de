"""Operators and data sets as a user may write them. Runs name them by the import path `core_plugins:Name`."""

from __future__ import annotations

import os
import random

import numpy
import torch
from torch import nn
from torch.utils.data import Dataset

from lightning_xvol.data import ImageData, TensorSplit


class DropoutConvolution(nn.Module):
    """A convolution that uses random numbers in every training step."""

    def __init__(self, in_channels, out_channels, *, stride=1, rate=0.3):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.dropout = nn.Dropout(rate)

    def forward(self, x):
        return self.dropout(self.conv(x))


class FailsWhenTold(nn.Conv2d):
    """Raises in the training step whose number the environment variable CORE_FAIL_AT gives, per process."""

    steps = 0

    def __init__(self, in_channels, out_channels, *, stride=1):
        super().__init__(in_channels, out_channels, 3, stride, padding=1)

    def forward(self, x):
        if self.training:
            FailsWhenTold.steps += 1
            if str(FailsWhenTold.steps) == os.environ.get("CORE_FAIL_AT"):
                raise RuntimeError("told to fail\nwith a second line")
        return super().forward(x)


class NeverWorks(nn.Conv2d):
    """Can be built but fails at its first use."""

    def __init__(self, in_channels, out_channels, *, stride=1):
        super().__init__(in_channels, out_channels, 3, stride, padding=1)

    def forward(self, x):
        raise KeyError("no such thing")


class _Augmented(Dataset):
    """Every image is shifted, scaled and made noisy, with numbers from each of the three global generators."""

    def __init__(self, split, strength):
        self.split, self.strength = split, strength

    def __len__(self):
        return len(self.split)

    def __getitem__(self, index):
        image, label = self.split[index]
        image = image + self.strength * torch.randn(image.shape)
        image = image * float(numpy.random.uniform(1 - self.strength, 1 + self.strength))
        return image.roll(random.randint(-2, 2), dims=-1), label


class Augmented(ImageData):
    """Seven classes of stripes with randomly augmented training images, and no test split."""

    num_classes = 7
    image_shape = (1, 16, 16)

    def __init__(self, root=None, *, download=False, size=40, strength=0.3):
        super().__init__(root, download=download)
        self.size, self.strength = size, strength

    def _split(self, size):
        labels = torch.arange(size) % self.num_classes
        phase = torch.arange(16.0) * (labels[:, None] + 1) / 4
        return TensorSplit(phase.sin()[:, None, None, :].expand(-1, 1, 16, -1).contiguous(), labels)

    def train(self):
        return _Augmented(self._split(self.size), self.strength)

    def validation(self):
        return self._split(self.size // 2 + 1)
