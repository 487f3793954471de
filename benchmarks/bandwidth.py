"""PSSA's Triton kernels against the bandwidth of a copy, and against the eager kernels and the literal reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.measure import Call, alternate, ratio, spread
from benchmarks.operators import Effort, Row
from benchmarks.shapes import Shape
from benchmarks.subjects import Machine, failing_at
from lightning_xvol import kernels
from lightning_xvol.kernels import triton
from lightning_xvol.kernels.spec import Spec
from lightning_xvol.operators.checks import head_count
from lightning_xvol.seeding import derive_seed

# Maps that must be read and written, whatever the kernel: q, k, v, y; and q, k, v with their gradients and that of y.
MAPS = {"forward": 4, "backward": 7}
PATHS: tuple[kernels.Path, ...] = ("triton", "shifts", "reference")

COLUMNS = ("form", "pass", "shape", "batch", "channels", "height", "width", "heads", "ms", "q1_ms", "q3_ms",
           "gb_per_second", "copy_gb_per_second", "over_copy", "eager_speedup", "reference_speedup")  # fmt: skip

Key = tuple[str, str, str]  # form, pass, path


def measure(shape: Shape, machine: Machine, effort: Effort) -> list[Row]:
    """A row per form and pass: the core alone, q, k and v in, the attended map out, without bias or normalisation.

    `gb_per_second` counts each map that a pass cannot do without once (`MAPS`), that of a copy its source and its
    target; `over_copy` is the ratio. Eager and reference are left out where their maps do not fit in memory.
    """
    copied = machine.input(shape, effort.seed)
    target = torch.empty_like(copied)
    calls: dict[Key, Call] = {("", "copy", ""): lambda: target.copy_(copied)}
    for path in PATHS:
        for form in triton.FORMS:
            with failing_at(shape, f"{form} by {path}"):
                calls |= _calls(form, path, shape, machine, effort.seed)
    with failing_at(shape, "a measurement"):
        seed = derive_seed(effort.seed, "order", shape.name)
        samples = alternate(calls, machine.device, effort.rounds, effort.seconds, seed)
    size = copied.numel() * copied.element_size()
    return [_row(form, part, shape, samples, size) for form in triton.FORMS for part in MAPS]


def _calls(form: str, path: kernels.Path, shape: Shape, machine: Machine, seed: int) -> dict[Key, Call]:
    """Both passes, or none where eager or reference does not fit in memory."""
    spec = Spec(form, num_heads=head_count(None, shape.channels))
    generator = torch.Generator().manual_seed(derive_seed(seed, "weights", form))
    weight = torch.randn(spec.weight_shape(shape.channels), generator=generator) / len(spec.offsets) ** 0.5
    query, key, value = (machine.input(shape, seed + place).requires_grad_() for place in range(3))
    weight = weight.to(machine.device, machine.dtype).requires_grad_()
    gradient = machine.input(shape, seed + 3)

    def attend() -> Tensor:
        with kernels.force(path):
            return kernels.pssa(spec, query, key, value, weight, None)

    def forward() -> Tensor:
        with torch.no_grad():
            return attend()

    try:
        y = attend()

        def backward() -> tuple[Tensor, ...]:
            return torch.autograd.grad(y, (query, key, value, weight), gradient, retain_graph=True)

        backward()
    except torch.OutOfMemoryError:
        if path == "triton":
            raise
        return {}
    return {(form, "forward", path): forward, (form, "backward", path): backward}


def _row(form: str, part: str, shape: Shape, samples: Mapping[Key, Sequence[float]], size: int) -> Row:
    seconds, copy = samples[form, part, "triton"], samples["", "copy", ""]
    found = spread(seconds)
    row: Row = {
        "form": form,
        "pass": part,
        "shape": shape.name,
        **{key: getattr(shape, key) for key in ("batch", "channels", "height", "width")},
        "heads": head_count(None, shape.channels) if form == "dot" else None,
        "ms": 1000 * found.median,
        "q1_ms": 1000 * found.low,
        "q3_ms": 1000 * found.high,
        "gb_per_second": MAPS[part] * size / found.median / 1e9,
        "copy_gb_per_second": 2 * size / spread(copy).median / 1e9,
        "over_copy": MAPS[part] / 2 * ratio(copy, seconds),
    }
    for name, path in (("eager", "shifts"), ("reference", "reference")):
        if (form, part, path) in samples:
            row[f"{name}_speedup"] = ratio(samples[form, part, path], seconds)
    return row
