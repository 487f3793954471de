"""Time against pixels, and the power of the pixels with which it grows: 1 for PSSA, 2 for global attention."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.measure import alternate, cpu_clock, ratio, spread
from benchmarks.operators import Effort, Row
from benchmarks.shapes import Shape
from benchmarks.subjects import Machine, Subject, failing_at, make_subject
from lightning_xvol.seeding import derive_seed

ATTENTION = "self_attention"
OPERATORS = ("pssa", "xvolution", ATTENTION)
SIDES = (28, 40, 56, 80, 112)
SMOKE_SIDES = (7, 10, 14)
CHANNELS = 64

Maker = Callable[[str, Shape, Machine, int, bool], Subject]  # the last: with the literal reference?

COLUMNS = ("operator", "label", "side", "pixels", "batch", "channels", "macs", "forward_ms", "forward_q1_ms",
           "forward_q3_ms", "times_pssa", "attention_over", "exponent")  # fmt: skip


def measure(
    names: Sequence[str], sides: Sequence[int], machine: Machine, effort: Effort, make: Maker = make_subject
) -> list[Row]:
    """A row per operator and side of a square map of one image: forward time, and the operator's fitted exponent.

    All sides of all operators alternate in the same rounds. `times_pssa` is the ratio to PSSA at the same side, and
    `attention_over` how many times as long global self-attention takes, if they are measured.

    Raises:
        UserError: where an operator cannot be built or does not run.
    """
    shapes = [Shape(f"{side}x{side}", 1, CHANNELS, side, side) for side in sides]
    subjects = {(name, shape): make(name, shape, machine, effort.seed, False) for name in names for shape in shapes}
    calls = {key: subject.calls["forward"] for key, subject in subjects.items()}
    with failing_at(shapes[-1]):
        samples = alternate(
            calls,
            machine.device,
            effort.rounds,
            effort.seconds,
            derive_seed(effort.seed, "order", "scaling"),
            cpu_clock,
        )
    medians = {key: statistics.median(values) for key, values in samples.items()}
    rows = []
    for (name, shape), subject in subjects.items():
        found = spread(samples[name, shape])
        row: dict[str, Any] = {
            "operator": name,
            "label": subject.label,
            "side": shape.height,
            "pixels": shape.pixels,
            "batch": shape.batch,
            "channels": shape.channels,
            "macs": subject.macs,
            "forward_ms": 1000 * found.median,
            "forward_q1_ms": 1000 * found.low,
            "forward_q3_ms": 1000 * found.high,
            "exponent": exponent({other.pixels: medians[name, other] for other in shapes}),
        }
        if ("pssa", shape) in samples:
            row["times_pssa"] = ratio(samples[name, shape], samples["pssa", shape])
        if (ATTENTION, shape) in samples:
            row["attention_over"] = ratio(samples[ATTENTION, shape], samples[name, shape])
        rows.append(row)
    return rows


def exponent(times: Mapping[int, float]) -> float:
    """The slope p of the least-squares line through `log(time) = a + p log(pixels)`."""
    if len(times) < 2:
        return math.nan
    return statistics.linear_regression(
        [math.log(pixels) for pixels in times], [math.log(seconds) for seconds in times.values()]
    ).slope
