"""Every operator at every shape: time, memory and multiply-adds against a 3x3 convolution and the literal reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import alternate, cpu_clock, ratio, spread
from benchmarks.shapes import Shape
from benchmarks.subjects import (
    Machine,
    Subject,
    Timing,
    failing_at,
    make_subject,
    training_peak,
)
from lightning_xvol.seeding import derive_seed

BASELINE = "convolution"

Row = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How long is measured: `rounds` samples of each, of at least `seconds`. `seed` draws order, weights and inputs."""

    rounds: int = 7
    seconds: float = 0.02
    seed: int = 0


def columns(cuda: bool) -> list[str]:
    """The columns of the table, in order. Times are of a batch, in milliseconds; `_q1` and `_q3` are quartiles.

    `macs` are of one image. `X_over_convolution` is the ratio to the 3x3 convolution, `X_speedup` how many times as
    long the literal reference takes, `fused_over_unfused` the ratio of inference times. `saved_bytes` is what forward
    keeps for backward beside input and parameters, `saved_inputs` the same in multiples of the input's size.
    """
    timed = ["forward", "training", "reference_forward", "reference_training", "fused_forward"]
    ratios = [
        "macs_over_convolution", "forward_over_convolution", "training_over_convolution",
        "forward_speedup", "training_speedup", "fused_over_unfused",
    ]  # fmt: skip
    memory = ["saved_bytes", "saved_inputs", "reference_saved_bytes"]
    if cuda:
        memory += ["peak_bytes", "peak_over_convolution"]
    times = [f"{name}_{part}" for name in timed for part in ("ms", "q1_ms", "q3_ms")]
    return [
        "shape", "batch", "channels", "height", "width", "operator", "label", "params", "macs", *ratios, *times,
        *memory, "note",
    ]  # fmt: skip


def measure(names: Sequence[str], shape: Shape, machine: Machine, effort: Effort) -> list[Row]:
    """A row per operator of `names` at `shape`; the baseline comes first whether it is among them or not.

    Raises:
        UserError: where an operator cannot be built or does not run.
    """
    subjects = [make_subject(name, shape, machine, effort.seed) for name in dict.fromkeys((BASELINE, *names))]
    return compare(subjects, shape, machine, effort)


def compare(subjects: Sequence[Subject], shape: Shape, machine: Machine, effort: Effort) -> list[Row]:
    """A row per subject; the first is the baseline."""
    calls = {(subject.name, timing): call for subject in subjects for timing, call in subject.calls.items()}
    seed = derive_seed(effort.seed, "order", shape.name)
    with failing_at(shape):
        samples = alternate(calls, machine.device, effort.rounds, effort.seconds, seed, cpu_clock)
        peaks = {subject.name: training_peak(subject, machine.device) for subject in subjects}
    return [_row(subject, subjects[0], shape, machine, samples, peaks) for subject in subjects]


def _row(
    subject: Subject,
    baseline: Subject,
    shape: Shape,
    machine: Machine,
    samples: Mapping[tuple[str, Timing], Sequence[float]],
    peaks: Mapping[str, int | None],
) -> Row:
    times = {timing: samples[subject.name, timing] for timing in subject.calls}
    row: Row = {
        "shape": shape.name,
        **{key: getattr(shape, key) for key in ("batch", "channels", "height", "width")},
        "operator": subject.name,
        "label": subject.label,
        "params": subject.params,
        "macs": subject.macs,
        "macs_over_convolution": subject.macs / baseline.macs,
        "saved_bytes": subject.saved_bytes,
        "saved_inputs": subject.saved_bytes / (shape.batch * shape.channels * shape.pixels * machine.dtype.itemsize),
        "reference_saved_bytes": subject.reference_saved_bytes,
        "note": subject.note,
    }
    for timing, seconds in times.items():
        found = spread(seconds)
        values = {"ms": found.median, "q1_ms": found.low, "q3_ms": found.high}
        row |= {f"{timing}_{part}": 1000 * value for part, value in values.items()}
    row["forward_over_convolution"] = ratio(times["forward"], samples[baseline.name, "forward"])
    row["training_over_convolution"] = ratio(times["training"], samples[baseline.name, "training"])
    if "reference_forward" in times:
        row["forward_speedup"] = ratio(times["reference_forward"], times["forward"])
        row["training_speedup"] = ratio(times["reference_training"], times["training"])
    if "fused_forward" in times:
        row["fused_over_unfused"] = ratio(times["fused_forward"], times["forward"])
    peak, least = peaks[subject.name], peaks[baseline.name]
    if peak is not None and least:
        row |= {"peak_bytes": peak, "peak_over_convolution": peak / least}
    return row
