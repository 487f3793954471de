"""Mode `scaling`: time against pixels, and the exponent of its growth: 1 for PSSA, 2 for global attention."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence

from benchmarks import core, plot, power_law, report
from benchmarks.measure import Effort, Row, alternate, cpu_clock, milliseconds, ratio
from benchmarks.session import Session
from benchmarks.shapes import Shape
from benchmarks.subjects import Machine, Subject, failing_at, make_subject

BASES = ("pssa", core.ATTENTION)  # the operators with which the others are compared
SIDES = (28, 40, 56, 80, 112)
SMOKE_SIDES = (7, 10, 14)
CHANNELS = 64

Maker = Callable[[str, Shape, Machine, int, bool], Subject]  # name, shape, machine, seed, with the literal reference

COLUMNS = ("operator", "label", "side", "pixels", "batch", "channels", "macs", "forward_ms", "forward_q1_ms",
           "forward_q3_ms", "times_pssa", "attention_over", "exponent")  # fmt: skip

_EXPONENT = "The exponent p is fitted to time = a pixels^p."
NOTES = (
    f"Forward of one image with {CHANNELS} channels: median [quartiles], in brackets the ratio to PSSA. {_EXPONENT}",
    report.CPU_TIME_NOTE,
)
CORE_NOTES = (
    f"Forward of one image with {CHANNELS} channels, the arithmetic alone: median [quartiles]. The brackets say how "
    f"many times as long global attention takes (`scaled_dot_product_attention`). {_EXPONENT}",
    report.CPU_TIME_NOTE,
)


def run(parsed: argparse.Namespace, session: Session) -> None:
    """Measure the operators of `parsed`, or PSSA's arithmetic, and draw the figure."""
    print("\ntime against pixels ...", flush=True)
    sides = SMOKE_SIDES if parsed.smoke else SIDES
    if parsed.core:
        rows = measure((*core.FORMS, core.ATTENTION), sides, session.machine, session.effort, core.make_core)
    else:
        rows = measure(parsed.operators, sides, session.machine, session.effort)
    text = table(rows)
    print(text, flush=True)
    name, notes = ("scaling-core", CORE_NOTES) if parsed.core else ("scaling", NOTES)
    written = session.write(name, "Time against pixels", notes, text, COLUMNS, rows)
    if not plot.available():
        print(f"{written}; {plot.left_out(session.stem(name))}")
        return
    paths = plot.write_scaling(rows, str(session.where), parsed.smoke, session.stem(name))
    print(f"{written}; figure: {', '.join(path.suffix for path in paths)}")


def measure(
    names: Sequence[str], sides: Sequence[int], machine: Machine, effort: Effort, make: Maker = make_subject
) -> list[Row]:
    """A row per operator and side of a square map of one image: forward time, and the operator's fitted exponent.

    The same rounds measure all sides of all operators. `times_pssa` is the ratio to PSSA at the same side.
    `attention_over` says how many times as long global self-attention takes. A row has these only if PSSA or
    self-attention is measured.

    Raises:
        UserError: if an operator cannot be built or does not run.
    """
    shapes = [Shape(f"{side}x{side}", 1, CHANNELS, side, side) for side in sides]
    subjects = {(name, shape): make(name, shape, machine, effort.seed, False) for name in names for shape in shapes}
    calls = {key: subject.calls["forward"] for key, subject in subjects.items()}
    with failing_at(shapes[-1]):
        samples = alternate(calls, machine.device, effort, "scaling", cpu_clock)
    medians = {key: statistics.median(values) for key, values in samples.items()}
    rows = []
    for (name, shape), subject in subjects.items():
        row: Row = {
            "operator": name,
            "label": subject.label,
            "side": shape.height,
            "pixels": shape.pixels,
            "batch": shape.batch,
            "channels": shape.channels,
            "macs": subject.macs,
            **milliseconds(samples[name, shape], "forward_"),
            "exponent": power_law.fit({other.pixels: medians[name, other] for other in shapes}).exponent,
        }
        if ("pssa", shape) in samples:
            row["times_pssa"] = ratio(samples[name, shape], samples["pssa", shape])
        if (core.ATTENTION, shape) in samples:
            row["attention_over"] = ratio(samples[core.ATTENTION, shape], samples[name, shape])
        rows.append(row)
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table: a line per side, a column per operator, and the exponents in the last line."""
    labels = {row["operator"]: row["label"] for row in rows}
    lines = []
    for side in dict.fromkeys(row["side"] for row in rows):
        at = {row["operator"]: row for row in rows if row["side"] == side}
        line = [f"{side}{report.TIMES}{side}"]
        for name in labels:
            factor = at[name].get("times_pssa", at[name].get("attention_over"))
            suffix = f" ({report.times(factor)})" if factor is not None and name not in BASES else ""
            line.append(f"{report.milliseconds(at[name], 'forward_')}{suffix}")
        lines.append(line)
    exponents = {row["operator"]: row["exponent"] for row in rows}
    lines.append(["exponent", *(f"{exponents[name]:.2f}" for name in labels)])
    return report.markdown(["side", *(f"{label}, ms" for label in labels.values())], lines)
