"""Mode `bandwidth`: PSSA's Triton kernels against a copy's bandwidth, the eager kernels and the literal reference."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.measure import Call, Effort, Row, alternate, milliseconds, ratio, spread
from benchmarks.session import Session
from benchmarks.shapes import Shape
from benchmarks.subjects import Machine, failing_at
from lightning_xvol import kernels
from lightning_xvol.config.pssa_options import PSSAOptions
from lightning_xvol.kernels import triton
from lightning_xvol.kernels.spec import Spec
from lightning_xvol.operators.checks import head_count

# The maps that every kernel must read or write. Forward: q, k, v, y. Backward: q, k, v, their gradients and that of y.
MAPS = {"forward": 4, "backward": 7}
PATHS: tuple[kernels.Path, ...] = ("triton", "shifts", "reference")

COLUMNS = ("form", "pass", "shape", "batch", "channels", "height", "width", "heads", "ms", "q1_ms", "q3_ms",
           "gb_per_second", "copy_gb_per_second", "over_copy", "eager_speedup", "reference_speedup")  # fmt: skip

NOTES = (
    "The core of PSSA by its Triton kernels, from q, k and v to the attended map, without bias, normalisation, "
    "projections or batch norm: median [quartiles] of the rounds. GB/s counts 4 maps forward (q, k, v, y) and 7 "
    "backward (q, k, v, their gradients and that of y). A copy reads a map and writes one. `to eager` and `to literal` "
    "say how many times as long the eager kernels and the literal reference take; a dash means that they do not fit in "
    "memory. Maps should be several times larger than the GPU's cache.",
)

Key = tuple[str, str, str]  # form, pass, path


def run(parsed: argparse.Namespace, session: Session) -> None:
    """Measure the kernels at the shapes of `parsed`."""
    rows = [row for shape in parsed.shapes for row in measure(shape, session.machine, session.effort)]
    text = table(rows)
    print(text)
    print(session.write("bandwidth", "Bandwidth of PSSA's kernels", NOTES, text, COLUMNS, rows))


def measure(shape: Shape, machine: Machine, effort: Effort) -> list[Row]:
    """A row per form and pass of the core alone: from q, k and v to the attended map, without bias or normalisation.

    `gb_per_second` counts each of the maps of `MAPS` once. For a copy it counts its source and its target. `over_copy`
    is the ratio of the two. Eager kernels and the reference are left out if their maps do not fit in memory.
    """
    copied = machine.input(shape, effort.seed)
    target = torch.empty_like(copied)
    calls: dict[Key, Call] = {("", "copy", ""): lambda: target.copy_(copied)}
    for path in PATHS:
        for form in triton.FORMS:
            with failing_at(shape, f"{form} by {path}"):
                calls |= _calls(form, path, shape, machine, effort.seed)
    with failing_at(shape, "a measurement"):
        samples = alternate(calls, machine.device, effort, shape.name)
    size = copied.numel() * copied.element_size()
    return [_row(form, part, shape, samples, size) for form in triton.FORMS for part in MAPS]


def _calls(form: str, path: kernels.Path, shape: Shape, machine: Machine, seed: int) -> dict[Key, Call]:
    """Both passes by `path`; none if the eager kernels or the reference do not fit in memory."""
    spec = Spec(form, PSSAOptions.shift_distances, num_heads=head_count(None, shape.channels))
    query, key, value = (machine.input(shape, seed + place).requires_grad_() for place in range(3))
    weight = machine.tap_weight(spec, shape.channels, seed).requires_grad_()
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
    row: Row = {
        "form": form,
        "pass": part,
        "shape": shape.name,
        **shape.columns,
        "heads": head_count(None, shape.channels) if form == "dot" else None,
        **milliseconds(seconds),
        "gb_per_second": MAPS[part] * size / spread(seconds).median / 1e9,
        "copy_gb_per_second": 2 * size / spread(copy).median / 1e9,
        "over_copy": MAPS[part] / 2 * ratio(copy, seconds),
    }
    for name, path in (("eager", "shifts"), ("reference", "reference")):
        if (form, part, path) in samples:
            row[f"{name}_speedup"] = ratio(samples[form, part, path], seconds)
    return row


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, with a line per form, pass and shape."""
    header = ["form", "pass", "shape", "ms", "GB/s", "of a copy", "to eager", "to literal"]
    lines = []
    for row in rows:
        line = [row["form"], row["pass"], report.size_text(row), report.milliseconds(row)]
        line += [report.digits(row["gb_per_second"]), f"{100 * row['over_copy']:.0f} %"]
        lines.append([*line, *(report.times(row.get(f"{path}_speedup")) for path in ("eager", "reference"))])
    return report.markdown(header, lines)
