"""The cost of a model: parameters and multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_xvol.errors import UserError
from lightning_xvol.operators.copying import copied


def count_parameters(model: nn.Module) -> int:
    """The number of parameters, including frozen ones. A shared parameter counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


@dataclass(frozen=True)
class ModuleRun:
    """One forward pass of one module.

    Attributes:
        path: of the module in the model.
        output: shape of the returned tensor; None if the module returned something else.
        macs: multiply-adds that this pass adds to the sum; 0 inside an operator, which counts as a whole.
        input: shape of its first argument; None if that is not a tensor.
    """

    path: str
    output: tuple[int, ...] | None
    macs: int
    input: tuple[int, ...] | None = None


def count_macs(model: nn.Module, image_shape: Sequence[int]) -> int:
    """Multiply-adds of one image of `image_shape` `(C, H, W)` through `model` in eval mode.

    The sum covers `nn.Conv2d`, `nn.Linear` and every operator, by its own `macs(height, width)` at its input size. A
    multiply-add counts as one, as in the "GFLOPS" that torchvision publishes. Biases, batch norms, activations, pooling
    and additions do not count. A layer that runs twice counts twice.

    The pass runs on a copy of the model, on the meta device, which computes nothing. If a layer does not run there, the
    pass runs on the model's own device.

    Raises:
        UserError: for a shape that is not three positive numbers, or a model that cannot be copied.
    """
    return sum(run.macs for run in trace(model, image_shape))


def trace(model: nn.Module, image_shape: Sequence[int]) -> list[ModuleRun]:
    """Every forward pass of every module of `model`, in the order in which they end, counted as in `count_macs`.

    Raises:
        UserError: for a shape that is not three positive numbers, or a model that cannot be copied.
    """
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise UserError(f"image_shape={tuple(image_shape)} must be (channels, height, width), each at least 1")
    parameter = next((item for item in model.parameters() if item.is_floating_point()), torch.empty(0))
    image = torch.zeros(1, *image_shape, dtype=parameter.dtype, device=parameter.device)
    try:
        return _trace_pass(copied(model).to("meta"), image.to("meta"))
    except (RuntimeError, NotImplementedError):
        return _trace_pass(copied(model), image)


def _trace_pass(model: nn.Module, image: torch.Tensor) -> list[ModuleRun]:
    runs: list[ModuleRun] = []
    inside: set[nn.Module] = set()
    for path, module in model.named_modules():
        counted = module not in inside
        if counted and _is_operator(module):
            # The count of an operator covers the modules inside it.
            inside.update(module.modules())

        def record(
            module: nn.Module, inputs: tuple[Any, ...], output: Any, path: str = path, counted: bool = counted
        ) -> None:
            given, made = (
                tuple(value.shape) if isinstance(value, torch.Tensor) else None
                for value in (inputs[0] if inputs else None, output)
            )
            runs.append(ModuleRun(path, made, _macs(module, inputs, output) if counted else 0, given))

        module.register_forward_hook(record)
    with torch.no_grad():
        model.eval()(image)
    return runs


def _macs(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int:
    if _is_operator(module):
        height, width = inputs[0].shape[-2:]
        return module.macs(height, width)  # type: ignore[operator]
    if isinstance(module, nn.Conv2d):
        return output.numel() * math.prod(module.kernel_size) * module.in_channels // module.groups
    if isinstance(module, nn.Linear):
        return output.numel() * inputs[0].shape[-1]
    return 0


def _is_operator(module: nn.Module) -> bool:
    return callable(getattr(module, "macs", None))
