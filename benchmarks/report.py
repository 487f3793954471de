"""Tables of what was measured, as CSV and Markdown, written whole or not at all; pandas is not needed."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_xvol.commandline import markdown_table
from lightning_xvol.ledger import files
from lightning_xvol.training import environment

DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Environment:
    """Where numbers come from: it names their files, stands in every row, and heads the tables. No host name."""

    device: str
    torch: str
    threads: int
    dtype: str = "float32"
    memory_format: str = "contiguous"
    rounds: int = 1
    seed: int = 0
    smoke: bool = False

    @property
    def slug(self) -> str:
        """The part of a file's name, for example `cpu-amd-epyc-torch-2.15.0-1-thread`."""
        parts = [self.device, f"torch-{self.torch}", f"{self.threads} thread{'s' if self.threads > 1 else ''}"]
        parts += [self.dtype] * (self.dtype != "float32") + [self.memory_format] * (self.memory_format != "contiguous")
        return re.sub(r"[^a-z0-9.+]+", "-", "-".join(parts).lower()).strip("-")

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.device}, torch {self.torch}, {threads}, {self.dtype}, {self.memory_format}"

    @property
    def columns(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("device", "torch", "threads", "dtype", "memory_format", "rounds")}


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], where: Environment) -> None:
    """Tidy: a row per thing measured, floats in six digits, empty where missing, the environment in every row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, *where.columns], restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _plain(value) for key, value in {**row, **where.columns}.items()})
    files.write_text(path, text.getvalue())


def _plain(value: Any) -> Any:
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def heading(title: str, where: Environment, *notes: str) -> str:
    commit = environment.commit() or "unknown"
    smoke = "SMOKE: " if where.smoke else ""
    paragraphs = [f"{smoke}{where}; {where.rounds} rounds in random order, seed {where.seed}; commit {commit[:10]}."]
    if where.smoke:
        paragraphs.append("A smoke run shows that everything works; the numbers mean nothing.")
    return "\n\n".join([f"# {title}", *paragraphs, *notes, ""])


def operator_tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table per shape."""
    tables = []
    for shape in dict.fromkeys(row["shape"] for row in rows):
        here = [row for row in rows if row["shape"] == shape]
        size = f"{TIMES}".join(str(here[0][key]) for key in ("batch", "channels", "height", "width"))
        tables.append(f"## {shape}: [{size}]\n\n{_operator_table(here)}\n")
        tables += [f"- {row['label']}: {row['note']}.\n" for row in here if row["note"]]
    return "\n".join(tables)


def _operator_table(rows: Sequence[Mapping[str, Any]]) -> str:
    peak = any("peak_bytes" in row for row in rows)
    header = ["operator", "params", "MACs", "to conv", "forward, ms", "to conv", "literal", "fused",
              "forward + backward, ms", "to conv", "literal", "saved, inputs"]  # fmt: skip
    header += ["peak, MB", "to conv"] * peak
    lines = []
    for row in rows:
        line = [row["label"], magnitude(row["params"]), magnitude(row["macs"]), times(row["macs_over_convolution"])]
        for timing in ("forward", "training"):
            line += [milliseconds(row, timing), times(row.get(f"{timing}_over_convolution"))]
            line.append(times(row.get(f"{timing}_speedup")))
            line += [times(row.get("fused_over_unfused"))] * (timing == "forward")
        line.append(digits(row["saved_inputs"]))
        if peak:
            line += [digits(row["peak_bytes"] / 1e6), times(row.get("peak_over_convolution"))]
        lines.append(line)
    return markdown(header, lines)


CPU_TIME_NOTE = "Of one CPU thread it is the CPU time that is measured: other work on the machine disturbs it less."

OPERATOR_NOTES = (
    "Times of one batch: median [quartiles] over the rounds. `to conv` is the ratio to the 3x3 convolution and "
    "`literal` how many times as long the literal reference takes, `fused` the ratio of the fused operator to the "
    "unfused one, each the median of the rounds' own ratios.",
    "MACs of one image. `saved` is what forward keeps for backward beside input and parameters, in multiples of the "
    "input's bytes.",
    CPU_TIME_NOTE,
)


def scaling_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Sides down, operators across, the exponents below."""
    labels = {row["operator"]: row["label"] for row in rows}
    lines = []
    for side in dict.fromkeys(row["side"] for row in rows):
        at = {row["operator"]: row for row in rows if row["side"] == side}
        line = [f"{side}{TIMES}{side}"]
        for name in labels:
            factor = at[name].get("times_pssa", at[name].get("attention_over"))
            suffix = f" ({times(factor)})" if factor is not None and name not in BASES else ""
            line.append(f"{milliseconds(at[name], 'forward')}{suffix}")
        lines.append(line)
    exponents = {row["operator"]: row["exponent"] for row in rows}
    lines.append(["exponent", *(f"{exponents[name]:.2f}" for name in labels)])
    return markdown(["side", *(f"{label}, ms" for label in labels.values())], lines)


BASES = ("pssa", "self_attention")  # what scaling tables compare with

SCALING_NOTES = (
    "Forward of one image with 64 channels: median [quartiles], in brackets the ratio to PSSA. The exponent p is "
    "fitted to time = a pixels^p.",
    CPU_TIME_NOTE,
)


CORE_NOTES = (
    "`core` is PSSA's arithmetic alone: query, key and value go in normalised, the attention result comes out. The "
    "whole operators have projections, normalisation and batch norms beside it.",
)

CORE_SCALING_NOTES = (
    "Forward of one image with 64 channels, the arithmetic alone: median [quartiles], in brackets how many times as "
    "long global attention takes (`scaled_dot_product_attention`). The exponent p is fitted to time = a pixels^p.",
    CPU_TIME_NOTE,
)


def fused_summary(rows: Sequence[Mapping[str, Any]]) -> str:
    """Fused over unfused inference: an operator's geometric mean over the shapes, and where it is worst."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if "fused_over_unfused" in row:
            found.setdefault(row["label"], []).append(row["fused_over_unfused"])
    lines = [
        [label, times(statistics.geometric_mean(ratios)), times(max(ratios)), str(len(ratios))]
        for label, ratios in found.items()
    ]
    header = ["fused over unfused", "geometric mean", "largest", "shapes"]
    return f"\n{markdown(header, lines)}\n" if lines else ""


def network_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        line = [row["network"], magnitude(row["params"]), magnitude(row["macs"]), times(row["macs_over_plain"])]
        for timing in ("training", "inference", "fused"):
            line += [milliseconds(row, timing), times(row.get(f"{timing}_over_plain"))]
        lines.append([*line, times(row.get("fused_over_unfused"))])
    header = ["conv5_x", "params", "MACs", "to plain", "training step, ms", "to plain", "inference, ms", "to plain",
              "fused, ms", "to plain", "to unfused"]  # fmt: skip
    return markdown(header, lines)


NETWORK_NOTES = (
    "The network with the operator in conv5_x, strides in the first 1x1 of every bottleneck, in all rows. Times of one "
    "batch: median [quartiles]; ratios are medians of the rounds' own ratios. A training step is forward, "
    "cross-entropy, backward and SGD with momentum. `fused` to plain is against the plain network's inference.",
    CPU_TIME_NOTE,
)


def bandwidth_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line per form, pass and shape."""
    header = ["form", "pass", "shape", "ms", "GB/s", "of a copy", "to eager", "to literal"]
    lines = []
    for row in rows:
        size = TIMES.join(str(row[key]) for key in ("batch", "channels", "height", "width"))
        time = f"{digits(row['ms'])} [{digits(row['q1_ms'])}, {digits(row['q3_ms'])}]"
        line = [row["form"], row["pass"], size, time, digits(row["gb_per_second"]), f"{100 * row['over_copy']:.0f} %"]
        lines.append([*line, times(row.get("eager_speedup")), times(row.get("reference_speedup"))])
    return markdown(header, lines)


BANDWIDTH_NOTES = (
    "The core of PSSA by its Triton kernels, from q, k and v to the attended map, without bias, normalisation, "
    "projections or batch norm: median [quartiles] of the rounds. GB/s counts 4 maps forward (q, k, v, y) and 7 "
    "backward (q, k, v, their gradients and that of y); a copy reads a map and writes one. `to eager` and `to literal` "
    "are how many times as long the eager kernels and the literal reference take, a dash where they do not fit in "
    "memory. Maps should be several times larger than the GPU's cache.",
)


def loader_table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        [
            row["pipeline"],
            str(row["workers"]),
            f"{digits(row['images_per_second'])} [{digits(row['q1'])}, {digits(row['q3'])}]",
            times(row["over_torchvision"]),
        ]
        for row in rows
    ]
    return markdown(["pipeline", "workers", "images/s", "to torchvision"], lines)


LOADER_NOTES = (
    "Training pictures, cropped, flipped and normalised, as float32 on the device: median [quartiles] of the rounds, "
    "an epoch each. The pictures are generated JPEGs in ImageNet's folders; torchvision is its reference pipeline "
    "(ImageFolder, RandomResizedCrop, RandomHorizontalFlip, ToTensor, Normalize).",
)


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return markdown_table(header, lines, (":--", *["--:"] * (len(header) - 1)))


def milliseconds(row: Mapping[str, Any], timing: str) -> str:
    """`12.3 [12.1, 12.9]`."""
    if f"{timing}_ms" not in row:
        return DASH
    return f"{digits(row[f'{timing}_ms'])} [{digits(row[f'{timing}_q1_ms'])}, {digits(row[f'{timing}_q3_ms'])}]"


def times(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}{TIMES}"


def digits(value: float) -> str:
    """Three significant digits without an exponent."""
    if value == 0:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.4f}"


def magnitude(value: int) -> str:
    """512, 44.7k, 25.6M, 1.2G."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.99995 * unit:
            return f"{value / unit:.1f}{suffix}"
    return str(value)
