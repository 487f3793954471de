"""How many taps of the operators of a network can ever be inside the maps that they see.

A tap with the offset (r, c) reads position (i + r, j + c) for the output at (i, j). On a map of H x W positions it can
be inside only if |r| < H and |c| < W; with a stride, the output positions count that exist. A tap that is never inside
reads zeros alone: it costs time and parameters and adds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lightning_xvol.backbones.cost import ModuleRun

_STAGE = re.compile(r"(?:^|\.)layer(\d)(?:\.|$)")


@dataclass(frozen=True)
class TapCount:
    """The taps of one kind in an operator.

    Attributes:
        where: `stage 5`, or the path of the operator in a network without stages.
        kind: `shifts` for those of PSSA, or a kernel such as `5x5, dilation 2`.
        height: of the map that the operator reads.
        width: of the same map.
        inside: how many of the taps can be inside the map.
        taps: how many there are.
        never: the distances at which no tap can be inside, in ascending order.
    """

    where: str
    kind: str
    height: int
    width: int
    inside: int
    taps: int
    never: tuple[int, ...]

    def text(self, ability: str = "") -> str:
        """`stage 5, map 4 x 4: 16 of 24 shifts, none at distance 5`, with `ability` behind the number of taps."""
        taps = self.kind if self.kind == "shifts" else f"taps of the {self.kind}"
        never = f", none at distance {' or '.join(map(str, self.never))}" if self.never else ""
        return f"{self.where}, map {self.height} x {self.width}: {self.inside} of {self.taps} {taps}{ability}{never}"


def count_taps(model: nn.Module, runs: Sequence[ModuleRun]) -> list[TapCount]:
    """The taps of the operators of `model`, by its forward passes `runs` (`trace`), in the order of the network.

    Equal counts of one stage are listed once.
    """
    sizes = {run.path: run.input[-2:] for run in runs if run.input is not None and len(run.input) == 4}
    found: dict[TapCount, None] = {}
    for path, module in model.named_modules():
        if not callable(getattr(module, "macs", None)):
            continue
        for below, part in module.named_modules(prefix=path):
            for kind, offsets, stride in _taps_of(part):
                if below in sizes:
                    found[_count(_where(path), kind, offsets, stride, sizes[below])] = None
    return list(found)


def outside(counts: Iterable[TapCount]) -> list[str]:
    """A sentence for each count with taps that can never be inside."""
    return [count.text(" can be inside the map") for count in counts if count.inside < count.taps]


def _taps_of(module: nn.Module) -> Iterator[tuple[str, Sequence[tuple[int, int]], tuple[int, int]]]:
    """The kind, the offsets and the stride of the taps that `module` itself has."""
    spec: Any = getattr(module, "spec", None)
    window: Any = getattr(module, "window", None)
    if isinstance(module, nn.Conv2d):
        rows, columns = (
            [index * step - pad for index in range(size)]
            for size, step, pad in zip(module.kernel_size, module.dilation, _padding(module), strict=True)
        )
        if len(rows) * len(columns) > 1:
            dilation = f", dilation {module.dilation[0]}" if module.dilation[0] > 1 else ""
            kind = f"{module.kernel_size[0]}x{module.kernel_size[1]}{dilation}"
            down, right = module.stride
            yield kind, [(row, column) for row in rows for column in columns], (down, right)
    elif hasattr(spec, "shift_distances"):
        yield "shifts", spec.offsets, (spec.stride, spec.stride)
    elif hasattr(window, "offsets"):
        yield f"{window.kernel_size}x{window.kernel_size}", window.offsets, (window.stride, window.stride)


def _padding(convolution: nn.Conv2d) -> tuple[int, ...]:
    if isinstance(convolution.padding, str):
        half = [
            step * (size - 1) // 2 for size, step in zip(convolution.kernel_size, convolution.dilation, strict=True)
        ]
        return tuple(half) if convolution.padding == "same" else (0, 0)
    return tuple(convolution.padding)


def _count(
    where: str, kind: str, offsets: Sequence[tuple[int, int]], stride: tuple[int, int], size: tuple[int, ...]
) -> TapCount:
    height, width = size
    inside = [
        offset for offset in offsets if _reaches(offset[0], height, stride[0]) and _reaches(offset[1], width, stride[1])
    ]
    reached = {max(map(abs, offset)) for offset in inside}
    never = sorted({max(map(abs, offset)) for offset in offsets} - reached)
    return TapCount(where, kind, height, width, len(inside), len(offsets), tuple(never))


def _reaches(offset: int, length: int, stride: int) -> bool:
    """Whether `position + offset` is inside for one of the output positions 0, stride, 2 stride, ... below `length`."""
    return any(0 <= position + offset < length for position in range(0, length, stride))


def _where(path: str) -> str:
    stage = _STAGE.search(path)
    return f"stage {int(stage[1]) + 1}" if stage else path or "the operator"
