"""Operators that go wrong in training, named by import path: `--set operator.name=faulty_operators:Raises`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class Faulty(nn.Module):
    """A convolution that does `fault` in the forward pass of training step `at`, counted in each process from 1.

    Where `switch` names a file, nothing goes wrong without it: a test removes the file to mend the operator.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, *, kernel_size: int = 3, **when: Any
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
        self.at, self.switch = when.get("at", 1), when.get("switch", "")
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if self.training and torch.is_grad_enabled():
            self.steps += 1
            if self.steps == self.at and (not self.switch or Path(self.switch).exists()):
                return self.fault(y)
        return y

    def fault(self, y: Tensor) -> Tensor:
        return y


class Sound(Faulty):
    """Nothing goes wrong."""


class Slow(Faulty):
    """Every forward pass of training takes SLOW_SECONDS longer. Results are the same."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            time.sleep(float(os.environ.get("SLOW_SECONDS", "0")))
        return super().forward(x)


class SaysGPUs(Faulty):
    def fault(self, y: Tensor) -> Tensor:
        print("GPUs", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
        return y


class Raises(Faulty):
    def fault(self, y: Tensor) -> Tensor:
        raise RuntimeError(f"größe 中: broken on purpose\nin step {self.steps}")


class Exits(Faulty):
    def fault(self, y: Tensor) -> Tensor:
        os._exit(7)


class SystemExits(Faulty):
    def fault(self, y: Tensor) -> Tensor:
        sys.exit("a plugin that ends the process")


class Killed(Faulty):
    def fault(self, y: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return y


class MakesNaN(Faulty):
    def fault(self, y: Tensor) -> Tensor:
        return y * float("nan")


class NaNInEvaluation(nn.Module):
    """Trains soundly, and evaluates to NaN."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, kernel_size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if self.training else y * float("nan")


class WrongArguments(nn.Module):
    """Takes no kernel_size."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()


class RaisesWhenBuilt(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, kernel_size: int = 3) -> None:
        super().__init__()
        raise KeyError("no such thing")
