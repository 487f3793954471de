"""The measurements on a GPU: the bandwidth of a copy, every variant, the other kernels, and the training step."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu_check.variants import FORMATS, FORMS, SHAPE, SHIPPED, VARIANTS, empty, spec, use
from benchmarks.measure import seconds_per_call
from lightning_xvol import kernels
from lightning_xvol.backbones import build_backbone
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.errors import first_line
from lightning_xvol.kernels import triton

Row = dict[str, Any]
MAPS = {"forward": 4, "backward": 7}  # q, k, v, y; and q, k, v, the gradient of y, and three gradients
TOLERANCE = 2e-2  # of bfloat16, as in the tests


@dataclass
class Bench:
    """The device and the sizes of a measurement.

    Attributes:
        device: `cuda`; tests use `cpu`.
        shape: `[B, C, H, W]` of the maps.
        launches: the number of launches whose mean is a time; one more launch before them is not counted.
        images: the batch and the side of the images of the training step.
        fastest: the fastest variant of each form and memory format, once `sweep` has found it.
    """

    device: str = "cuda"
    shape: tuple[int, int, int, int] = SHAPE
    launches: int = 20
    images: tuple[int, int] = (128, 224)
    fastest: dict[tuple[str, str], str] = field(default_factory=dict)

    def seconds(self, call: Callable[[], object]) -> float:
        """The mean time of `call` in seconds, over `launches` calls."""
        call()
        return seconds_per_call(call, self.launches, torch.device(self.device))

    @functools.cached_property
    def copy_seconds(self) -> float:
        """The seconds of a copy of one map in bfloat16."""
        source = torch.ones(self.shape, device=self.device, dtype=torch.bfloat16)
        target = torch.empty_like(source)
        return self.seconds(lambda: target.copy_(source))

    def leaves(self, form: str, memory_format: str) -> list[Tensor]:
        """Query, key, value and weights with random normal values, which require gradients."""
        generator = torch.Generator(self.device).manual_seed(0)
        tensors = empty(form, memory_format, self.shape, self.device)
        return [x.normal_(generator=generator).requires_grad_() for x in tensors]


def copy(bench: Bench) -> Iterator[Row]:
    """A row with the bandwidth of a copy in GB/s. A copy reads one map and writes one."""
    size = 2 * math.prod(bench.shape)
    yield {"copy_gb_per_second": round(2 * size / bench.copy_seconds / 1e9, 1)}


def sweep(bench: Bench) -> Iterator[Row]:
    """Rows for both passes of every variant: milliseconds, share of a copy's bandwidth, and error.

    The error is the largest deviation from the eager kernels in float32, relative to their largest value.
    """
    for form in FORMS:
        for memory_format in FORMATS:
            leaves = bench.leaves(form, memory_format)
            attend = functools.partial(_attend, form)
            expected = _outcome(functools.partial(_by_path, "shifts", form), [x.float() for x in leaves])
            totals: dict[str, float] = {}
            for variant in VARIANTS:
                columns = {"form": form, "memory_format": memory_format, "variant": variant}
                try:
                    with use(variant):
                        error = max(map(_distance, _outcome(attend, leaves), expected))
                        found = _passes(bench, attend, leaves)
                except Exception as failure:  # the other variants are still measured
                    yield {**columns, "failure": f"{type(failure).__name__}: {first_line(failure)}"}
                    continue
                if error < TOLERANCE:
                    totals[variant] = sum(found.values())
                    bench.fastest[form, memory_format] = min(totals, key=lambda name: totals[name])
                for name, seconds in found.items():
                    share = MAPS[name] / 2 * bench.copy_seconds / seconds
                    yield {**columns, "pass": name, "ms": 1e3 * seconds, "of_copy": share, "error": error}


def paths(bench: Bench) -> Iterator[Row]:
    """Rows with the milliseconds of the fastest variant, the eager kernels and the literal reference."""
    for form in FORMS:
        for memory_format in FORMATS:
            variant = bench.fastest.get((form, memory_format), SHIPPED)
            leaves = bench.leaves(form, memory_format)
            calls: Mapping[str, Callable[..., Tensor]] = {
                variant: functools.partial(_attend, form),
                "shifts": functools.partial(_by_path, "shifts", form),
                "reference": functools.partial(_by_path, "reference", form),
            }
            for name, call in calls.items():
                row: Row = {"form": form, "memory_format": memory_format, "path": name}
                try:
                    with use(variant):
                        found = _passes(bench, call, leaves)
                except torch.OutOfMemoryError:
                    yield {**row, "failure": "does not fit in memory"}
                    continue
                yield {**row, **{f"{part}_ms": 1e3 * seconds for part, seconds in found.items()}}


def network(bench: Bench) -> Iterator[Row]:
    """Rows with the milliseconds of a training step of ResNet-50, plain and with X-volution in conv5_x, in bfloat16."""
    batch, side = bench.images
    images = torch.randn(batch, 3, side, side, device=bench.device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=bench.device)
    for compiled in (False, True):
        for name in ("convolution", "xvolution"):
            model = build_backbone(BackboneConfig("resnet50", stages=(5,)), OperatorConfig(name), 1000)
            model = model.to(bench.device).to(memory_format=torch.channels_last).train()
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
            if compiled:
                model.compile()

            def step(model: Any = model, optimizer: Any = optimizer) -> None:
                optimizer.zero_grad()
                with torch.autocast(bench.device, dtype=torch.bfloat16):
                    loss = F.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()

            row: Row = {"network": name, "compiled": compiled}
            try:
                row["step_ms"] = 1e3 * bench.seconds(step)
            except Exception as failure:  # torch.compile may lack a C compiler
                row["failure"] = f"{type(failure).__name__}: {first_line(failure)}"
            yield row


def _attend(form: str, query: Tensor, key: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """PSSA's arithmetic by the Triton kernels, with the variant that is in use."""
    return getattr(triton, form)(query, key, value, weight, None, spec(form))


def _by_path(path: kernels.Path, form: str, query: Tensor, key: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    with kernels.force(path):
        return kernels.pssa(spec(form), query, key, value, weight, None)


def _outcome(call: Callable[..., Tensor], leaves: list[Tensor]) -> list[Tensor]:
    """The result and all gradients."""
    y = call(*leaves)
    return [y.detach(), *torch.autograd.grad(y, leaves, _gradient(y))]


def _passes(bench: Bench, call: Callable[..., Tensor], leaves: list[Tensor]) -> dict[str, float]:
    """Seconds of forward and of backward."""
    with torch.no_grad():
        forward = bench.seconds(lambda: call(*leaves))
    y = call(*leaves)
    gradient = _gradient(y)
    backward = bench.seconds(lambda: torch.autograd.grad(y, leaves, gradient, retain_graph=True))
    return {"forward": forward, "backward": backward}


def _gradient(y: Tensor) -> Tensor:
    """The same gradient of y in every dtype, in the memory format of y."""
    generator = torch.Generator(y.device).manual_seed(1)
    drawn = torch.randn(y.shape, generator=generator, device=y.device, dtype=torch.bfloat16)
    return torch.empty_like(y).copy_(drawn)


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).abs().max() / expected.abs().max())


MEASURES: Mapping[str, Callable[[Bench], Iterator[Row]]] = {
    "copy": copy, "sweep": sweep, "paths": paths, "network": network,
}  # fmt: skip
