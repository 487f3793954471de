"""Where one command measures, how long, and where its files go."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.measure import Effort, Row, keep_freed_memory
from benchmarks.report import Environment, csv_text, heading
from benchmarks.subjects import Machine
from lightning_xvol.config import registry
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files
from lightning_xvol.training import environment


@dataclass(frozen=True)
class Session:
    """What every mode gets.

    Attributes:
        machine: the device, the dtype and the memory format.
        effort: the rounds, their length and the seed.
        where: the same in words, for tables and file names.
        out: the folder of the files.
    """

    machine: Machine
    effort: Effort
    where: Environment
    out: Path

    def stem(self, name: str) -> Path:
        """The path of a table or a figure without its suffix."""
        return self.out / f"{name}-{self.where.slug}"

    def write(
        self, name: str, title: str, notes: Sequence[str], table: str, columns: Sequence[str], rows: Sequence[Row]
    ) -> str:
        """Write `rows` as CSV, and `table` below its heading as Markdown. Returns a line that says where they are."""
        stem = self.stem(name)
        files.write_text(stem.with_name(f"{stem.name}.csv"), csv_text(columns, rows, self.where))
        files.write_text(stem.with_name(f"{stem.name}.md"), f"{heading(title, self.where, *notes)}{table.rstrip()}\n")
        return f"tables: {stem}.csv, .md"


def open_session(parsed: argparse.Namespace) -> Session:
    """Set up torch and the allocator, make the output folder, and print where it measures.

    Raises:
        UserError: without a GPU where one is asked for, for an operator that cannot be imported, or for a folder that
            cannot be written to.
    """
    device = getattr(parsed, "device", None) or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch sees no CUDA device here; `bandwidth` and `--device cuda` need one")
    for name in getattr(parsed, "operators", ()):
        registry.load("operator", name)  # shows a wrong import path before anything is measured
    files.make_folder(parsed.out)
    keep_freed_memory()
    torch.set_num_threads(getattr(parsed, "threads", 1))
    seed = getattr(parsed, "seed", None)
    dtype, channels_last = getattr(parsed, "dtype", "float32"), getattr(parsed, "channels_last", False)
    where = Environment(
        device=environment.device_name(device),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        dtype=dtype,
        memory_format="channels_last" if channels_last else "contiguous",
        rounds=parsed.rounds,
        seed=seed,
        smoke=parsed.smoke,
    )
    print(f"{where}; {where.order}", flush=True)
    return Session(
        machine=Machine(torch.device(device), getattr(torch, dtype), channels_last),
        effort=Effort(parsed.rounds, 0 if parsed.smoke else 0.02, seed or 0),
        where=where,
        out=parsed.out,
    )
