"""The environment of a measurement, and the text of tables: CSV, headings and numbers. It does not need pandas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_xvol import commandline
from lightning_xvol.training import environment

DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"

CPU_TIME_NOTE = "On one CPU thread this is CPU time, because other work on the machine disturbs it less."


@dataclass(frozen=True)
class Environment:
    """Where numbers come from. It never holds the host's name.

    It is part of the files' names, of every row and of the heading of tables. Without a `seed` the order of the rounds
    is not random: the things that are measured take turns.
    """

    device: str
    torch: str
    threads: int
    dtype: str = "float32"
    memory_format: str = "contiguous"
    rounds: int = 1
    seed: int | None = 0
    smoke: bool = False

    @property
    def slug(self) -> str:
        """The part of a file's name, for example `cpu-amd-epyc-torch-2.15.0-1-thread`."""
        parts = [self.device, f"torch-{self.torch}", self._threads]
        parts += [self.dtype] * (self.dtype != "float32") + [self.memory_format] * (self.memory_format != "contiguous")
        return re.sub(r"[^a-z0-9.+]+", "-", "-".join(parts).lower()).strip("-")

    def __str__(self) -> str:
        return f"{self.device}, torch {self.torch}, {self._threads}, {self.dtype}, {self.memory_format}"

    @property
    def _threads(self) -> str:
        return f"{self.threads} thread{'s' if self.threads > 1 else ''}"

    @property
    def order(self) -> str:
        """How many rounds there are, and in which order each of them measures."""
        rounds = f"{self.rounds} round{'s' if self.rounds > 1 else ''}"
        return f"{rounds} in {'turns' if self.seed is None else f'random order, seed {self.seed}'}"

    @property
    def columns(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("device", "torch", "threads", "dtype", "memory_format", "rounds")}


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], where: Environment) -> str:
    """One row per measured thing, floats in six digits, empty where missing, with the environment in every row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, *where.columns], restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _plain(value) for key, value in {**row, **where.columns}.items()})
    return text.getvalue()


def _plain(value: Any) -> Any:
    if value is None or value != value:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def heading(title: str, where: Environment, *notes: str) -> str:
    """The beginning of a Markdown file: what was measured, where, at which commit, and how to read it."""
    commit = environment.commit() or "unknown"
    smoke = "SMOKE: " if where.smoke else ""
    paragraphs = [f"{smoke}{where}; {where.order}; commit {commit[:10]}."]
    if where.smoke:
        paragraphs.append("A smoke run shows that everything works; its numbers mean nothing.")
    return "\n\n".join([f"# {title}", *paragraphs, *notes, ""])


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is flush left and the others flush right."""
    return commandline.markdown_table(header, lines, (":--", *["--:"] * (len(header) - 1)))


def milliseconds(row: Mapping[str, Any], prefix: str = "") -> str:
    """Median and quartiles from the columns of `measure.milliseconds`; a dash where the row has none."""
    if f"{prefix}ms" not in row:
        return DASH
    return interval(*(row[f"{prefix}{part}ms"] for part in ("", "q1_", "q3_")))


def interval(median: float, low: float, high: float) -> str:
    """`12.3 [12.1, 12.9]`."""
    return f"{digits(median)} [{digits(low)}, {digits(high)}]"


def costs(row: Mapping[str, Any], ratio: str) -> list[str]:
    """Parameters, multiply-adds, and the ratio in the column `ratio`."""
    return [magnitude(row["params"]), magnitude(row["macs"]), times(row[ratio])]


def size_text(row: Mapping[str, Any]) -> str:
    """`8×64×56×56`: the input's batch, channels, height and width."""
    return TIMES.join(str(row[key]) for key in ("batch", "channels", "height", "width"))


def times(value: float | None) -> str:
    """A ratio, `0.12×`; a dash for None."""
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
