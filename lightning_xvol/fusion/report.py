"""`fusion_report`: how much the outputs of a fused model differ from the original, and what both cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_xvol.backbones.cost import count_macs, count_parameters
from lightning_xvol.commandline import columns
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.walk import fuse, fusible


@dataclass(frozen=True)
class Difference:
    """How far two outputs are apart.

    Attributes:
        absolute: the largest absolute difference.
        relative: this difference divided by the largest absolute value of the unfused output.
    """

    absolute: float
    relative: float


@dataclass(frozen=True)
class FusionReport:
    """What fusion changed. `str()` of it is a table.

    Attributes:
        layers: the difference of each fused operator from the unfused one, by path. Both get the input that reaches the
            operator in the unfused model. The path of a root operator is empty.
        overall: the difference of the models' outputs, in which the differences of the layers accumulate.
        parameters, macs: before and after.
    """

    layers: dict[str, Difference]
    overall: Difference
    parameters: tuple[int, int]
    macs: tuple[int, int]

    def __str__(self) -> str:
        differences = {path or "(the operator)": difference for path, difference in self.layers.items()}
        differences["overall"] = self.overall
        rows = [(name, f"{found.absolute:.2e}", f"{found.relative:.2e}") for name, found in differences.items()]
        lines = columns([("largest difference", "absolute", "relative"), *rows], right=(1, 2))
        for name, (before, after) in {"parameters": self.parameters, "multiply-adds": self.macs}.items():
            lines.append(f"{name}: {before:,} before, {after:,} after")
        return "\n".join(lines)


def fusion_report(model: nn.Module, x: Tensor, *, block_norms: bool = False) -> FusionReport:
    """Fuse `model` and compare both on the images `x`, `[B, C, H, W]`, on their device and in their dtype.

    The model does not change. Multiply-adds are per image at the size of `x`.

    Raises:
        UserError: where `fuse` raises, or for an `x` that is no batch of images.
    """
    if x.dim() != 4:
        raise UserError(f"x must be images [B, C, H, W], got {tuple(x.shape)}")
    fused = fuse(model, block_norms=block_norms)
    layers: dict[str, Difference] = {}
    handles = []
    for found in fusible(model, block_norms):
        atomic: Any = fused.get_submodule(found.path)
        compare = _Comparison(found.path, atomic, layers)
        last = found.parent.get_submodule("bn2") if atomic.block_norm and found.parent else found.operator
        handles += [found.operator.register_forward_pre_hook(compare.enter), last.register_forward_hook(compare.leave)]
    try:
        with torch.no_grad():
            overall = difference(fused(x), model(x))
    finally:
        for handle in handles:
            handle.remove()
    return FusionReport(
        layers=layers,
        overall=overall,
        parameters=(count_parameters(model), count_parameters(fused)),
        macs=(count_macs(model, x.shape[1:]), count_macs(fused, x.shape[1:])),
    )


class _Comparison:
    """Hooks around an unfused operator that run the fused one on the same input."""

    def __init__(self, path: str, atomic: Callable[[Tensor], Tensor], found: dict[str, Difference]) -> None:
        self.path, self.atomic, self.found = path, atomic, found
        self.output: Tensor | None = None

    def enter(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.output = self.atomic(inputs[0])

    def leave(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        now, before = difference(self.output, output), self.found.get(self.path, Difference(0.0, 0.0))
        # An operator that runs twice, for example on a pyramid of images, gets the difference of its worse run.
        self.found[self.path] = Difference(max(now.absolute, before.absolute), max(now.relative, before.relative))


def difference(found: Any, expected: Any) -> Difference:
    """The difference of two outputs, each a tensor or any nesting of tensors. NaN where a value is not finite."""
    pairs = list(zip(_tensors(found), _tensors(expected), strict=True))
    if any(a.shape != b.shape for a, b in pairs):
        return Difference(math.inf, math.inf)  # for example a detector that finds another number of objects
    absolute = _largest([a.double() - b.double() for a, b in pairs])
    scale = _largest([b for _, b in pairs])
    return Difference(absolute, absolute / scale if scale else math.inf if absolute else absolute)


def _tensors(output: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]


def _largest(tensors: list[Tensor]) -> float:
    values = [float(tensor.abs().max()) for tensor in tensors if tensor.numel()]
    return math.nan if any(map(math.isnan, values)) else max(values, default=0.0)
