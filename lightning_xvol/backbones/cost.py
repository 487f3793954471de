"""What a model costs: parameters and multiply-adds."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lightning_xvol.errors import UserError


def count_parameters(model: nn.Module) -> int:
    """The number of learnable values, a shared one counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, image_shape: Sequence[int]) -> int:
    """Multiply-adds of one image of `image_shape` `(C, H, W)` through `model` in eval mode.

    Counted are `nn.Conv2d` and `nn.Linear`, and every operator by its own `macs(height, width)` at the size that it
    sees. One multiply-add is one, as in the "GFLOPS" that torchvision publishes. Biases, batch norms, activations,
    pooling and additions are left out. A layer that runs twice counts twice. The pass runs on a copy: on the meta
    device, where nothing is computed, or, where some layer does not run there, on the model's own.

    Raises:
        UserError: for a shape that is not three positive numbers.
    """
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise UserError(f"image_shape={tuple(image_shape)} must be (channels, height, width), each at least 1")
    parameter = next((item for item in model.parameters() if item.is_floating_point()), torch.empty(0))
    image = torch.zeros(1, *image_shape, dtype=parameter.dtype, device=parameter.device)
    try:
        return _count_pass(copy.deepcopy(model).to("meta"), image.to("meta"))
    except (RuntimeError, NotImplementedError):
        return _count_pass(copy.deepcopy(model), image)


def _count_pass(model: nn.Module, image: torch.Tensor) -> int:
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if _is_operator(module):
            height, width = inputs[0].shape[-2:]
            counts.append(module.macs(height, width))  # type: ignore[operator]
        elif isinstance(module, nn.Conv2d):
            counts.append(output.numel() * math.prod(module.kernel_size) * module.in_channels // module.groups)
        else:
            counts.append(output.numel() * inputs[0].shape[-1])

    inside: set[nn.Module] = set()
    for module in model.modules():
        if module in inside:
            continue
        if _is_operator(module):
            # What an operator is made of is in its own count.
            inside.update(module.modules())
            module.register_forward_hook(count)
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(image)
    return sum(counts)


def _is_operator(module: nn.Module) -> bool:
    return callable(getattr(module, "macs", None))
