"""The tables of mode `growth`: time, memory and exponents against batch, pixels and depth. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import report

Row = Mapping[str, Any]

BASELINE = "convolution"
# Global attention has a weight for each pair of positions. A network whose weights take more memory is not measured.
ATTENTION_BYTES = 4 << 30


def memory_column(rows: Sequence[Row]) -> str:
    """The column of memory that tables and figures show: the peak if there is one, else what forward keeps."""
    return "peak_bytes" if any("peak_bytes" in row for row in rows) else "saved_bytes"


def tables(rows: Sequence[Row]) -> str:
    """A Markdown table per axis: a line per size, time and memory of each operator, and the exponents at the end."""
    text = []
    for axis in dict.fromkeys(row["axis"] for row in rows):
        here = [row for row in rows if row["axis"] == axis]
        text.append(f"## {heading(axis, here[0])}\n\n{_table(axis, here)}\n")
    return "\n".join([*text, *_left_out(rows)])


def _left_out(rows: Sequence[Row]) -> list[str]:
    """A sentence about the sizes that are not measured; nothing if there are none."""
    missing = [row for row in rows if "note" in row]
    if not missing:
        return []
    labels = ", ".join(dict.fromkeys(row["label"] for row in missing))
    sizes = ", ".join(dict.fromkeys(f"{_size(row)} ({row['attention_bytes'] / 2**30:.1f} GiB)" for row in missing))
    return [
        f"A dash stands where {labels} is not measured, because its attention weights of all layers (batch "
        f"{report.TIMES} heads {report.TIMES} positions²) would take more than {ATTENTION_BYTES / 2**30:g} GiB: "
        f"{sizes}.\n"
    ]


def _size(row: Row) -> str:
    return f"{row['batch']} images of {row['side']}{report.TIMES}{row['side']}, {row['blocks']} blocks"


def heading(axis: str, row: Row) -> str:
    """What varies on `axis`, and what stays: `Batch, at 32×32 pixels and 5 blocks`."""
    fixed = {
        "batch": f"batch {row['batch']}",
        "side": f"{row['side']}{report.TIMES}{row['side']} pixels",
        "depth": f"{row['blocks']} blocks",
    }
    title = {"batch": "Batch", "side": "Pixels", "depth": "Depth"}[axis]
    return f"{title}, at {' and '.join(text for other, text in fixed.items() if other != axis)}"


def _table(axis: str, rows: Sequence[Row]) -> str:
    labels = {row["operator"]: row["label"] for row in rows}
    memory = memory_column(rows)
    lines = []
    for place in dict.fromkeys((row["batch"], row["side"], row["blocks"]) for row in rows):
        at = {row["operator"]: row for row in rows if (row["batch"], row["side"], row["blocks"]) == place}
        batch, side, blocks = place
        line = [{"batch": str(batch), "side": f"{side}{report.TIMES}{side}", "depth": str(blocks)}[axis]]
        lines.append([*line, *(_time(at[name]) for name in labels), *(_megabytes(at[name], memory) for name in labels)])
    first = {row["operator"]: row for row in rows}
    for title, part in (("exponent", "exponent"), ("R²", "r_squared"), ("exponent, larger half", "upper_exponent")):
        lines.append([title, *(_law(first[name], cost, part) for cost in ("time", "memory") for name in labels)])
    size = {"batch": "batch", "side": "pixels", "depth": "blocks"}[axis]
    header = [f"{label}, {unit}" for unit in ("ms", "MB") for label in labels.values()]
    return report.markdown([size, *header], lines)


def _time(row: Row) -> str:
    factor = row.get("over_convolution")
    suffix = f" ({report.times(factor)})" if factor is not None and row["operator"] != BASELINE else ""
    return f"{report.milliseconds(row, 'step_')}{suffix}"


def _megabytes(row: Row, column: str) -> str:
    return report.digits(row[column] / 1e6) if column in row else report.DASH


def _law(row: Row, cost: str, part: str) -> str:
    value, error = row[f"{cost}_{part}"], row[f"{cost}_exponent_error"]
    if value != value:
        return report.DASH
    if part == "r_squared":
        return f"{value:.4f}"
    return f"{value:.2f} ± {error:.2f}" if part == "exponent" and error == error else f"{value:.2f}"
