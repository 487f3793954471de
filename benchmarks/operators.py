"""Mode `operators`: time, memory and multiply-adds against a 3x3 convolution and the literal reference."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks import report
from benchmarks.measure import Effort, Row, alternate, cpu_clock, milliseconds, ratio
from benchmarks.session import Session
from benchmarks.shapes import Shape
from benchmarks.subjects import Machine, Subject, Timing, failing_at, make_subject, training_peak

BASELINE = "convolution"

NOTES = (
    "Times of one batch: median [quartiles] over the rounds. `to conv` is the ratio to the 3x3 convolution. `literal` "
    "says how many times as long the literal reference takes. `fused` is the ratio of the fused operator to the "
    "unfused one. Each ratio is the median of the rounds' own ratios.",
    "MACs of one image. `saved` is what forward keeps for backward, without input and parameters, in multiples of the "
    "input's bytes.",
    report.CPU_TIME_NOTE,
)


def run(parsed: argparse.Namespace, session: Session) -> None:
    """Measure the operators of `parsed` at its shapes."""

    def at(shape: Shape) -> list[Row]:
        return measure(parsed.operators, shape, session.machine, session.effort)

    run_shapes("operators", "Operators", NOTES, at, parsed.shapes, session)


def run_shapes(
    name: str,
    title: str,
    notes: Sequence[str],
    measure_at: Callable[[Shape], list[Row]],
    shapes: Iterable[Shape],
    session: Session,
) -> None:
    """Measure shape by shape. After each shape, print its table and write the files with all shapes so far."""
    rows: list[Row] = []
    for shape in shapes:
        print(f"\n{shape.name} ...", flush=True)
        found = measure_at(shape)
        rows += found
        print(tables(found).partition("\n\n")[2], flush=True)
        text = tables(rows) + fused_summary(rows)
        written = session.write(name, title, notes, text, columns(session.machine.device.type == "cuda"), rows)
    print(f"{fused_summary(rows)}\n{written}")


def columns(cuda: bool) -> list[str]:
    """The columns of the CSV file, in order.

    Times are milliseconds per batch; `_q1` and `_q3` are quartiles. `macs` are of one image. `X_over_convolution` is
    the ratio to the 3x3 convolution. `X_speedup` says how many times as long the literal reference takes.
    `fused_over_unfused` is the ratio of inference times. `saved_bytes` is what forward keeps for backward, without
    input and parameters. `saved_inputs` is the same in multiples of the input's size.
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
    """A row per operator of `names` at `shape`. The baseline comes first, even if `names` leaves it out.

    Raises:
        UserError: if an operator cannot be built or does not run.
    """
    subjects = [make_subject(name, shape, machine, effort.seed) for name in dict.fromkeys((BASELINE, *names))]
    return compare(subjects, shape, machine, effort)


def compare(subjects: Sequence[Subject], shape: Shape, machine: Machine, effort: Effort) -> list[Row]:
    """A row per subject; the first is the baseline."""
    calls = {(subject.name, timing): call for subject in subjects for timing, call in subject.calls.items()}
    with failing_at(shape):
        samples = alternate(calls, machine.device, effort, shape.name, cpu_clock)
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
        **shape.columns,
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
        row |= milliseconds(seconds, f"{timing}_")
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


def tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table per shape."""
    found = []
    for shape in dict.fromkeys(row["shape"] for row in rows):
        here = [row for row in rows if row["shape"] == shape]
        found.append(f"## {shape}: [{report.size_text(here[0])}]\n\n{_table(here)}\n")
        found += [f"- {row['label']}: {row['note']}.\n" for row in here if row["note"]]
    return "\n".join(found)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    peak = any("peak_bytes" in row for row in rows)
    header = ["operator", "params", "MACs", "to conv", "forward, ms", "to conv", "literal", "fused",
              "forward + backward, ms", "to conv", "literal", "saved, inputs"]  # fmt: skip
    header += ["peak, MB", "to conv"] * peak
    lines = []
    for row in rows:
        line = [row["label"], *report.costs(row, "macs_over_convolution")]
        for timing in ("forward", "training"):
            line += [report.milliseconds(row, f"{timing}_"), report.times(row.get(f"{timing}_over_convolution"))]
            line.append(report.times(row.get(f"{timing}_speedup")))
            line += [report.times(row.get("fused_over_unfused"))] * (timing == "forward")
        line.append(report.digits(row["saved_inputs"]))
        if peak:
            line += [report.digits(row["peak_bytes"] / 1e6), report.times(row.get("peak_over_convolution"))]
        lines.append(line)
    return report.markdown(header, lines)


def fused_summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of the ratio of fused to unfused inference time: its mean and its largest value over the shapes."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if "fused_over_unfused" in row:
            found.setdefault(row["label"], []).append(row["fused_over_unfused"])
    lines = [
        [label, report.times(statistics.geometric_mean(ratios)), report.times(max(ratios)), str(len(ratios))]
        for label, ratios in found.items()
    ]
    header = ["fused over unfused", "geometric mean", "largest", "shapes"]
    return f"\n{report.markdown(header, lines)}\n" if lines else ""
