"""A thousand runs: offline files of a thousand rows each, and a ledger."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from analysis.sources.collection import Collection

pytestmark = pytest.mark.slow

SEEDS, ROWS = 100, 1000
SCORES = {
    operator: {size: [best - 0.01 * seed for seed in range(SEEDS)] for size in (1, 3, 5, 7, 9)}
    for operator, best in (("convolution", 90.0), ("xvolution", 95.0))
}


@pytest.fixture
def ledger(make_ledger) -> Any:
    return make_ledger(SCORES)


@pytest.fixture
def folder(ledger, start_run, wandb_file, tmp_path: Path) -> Path:
    """An offline run of five metrics for each cell."""
    rows = wandb_file()
    for step in range(ROWS):
        losses = {f"val_{name}": 1 / (step + 1) for name in ("loss", "top1", "top5")}
        rows.row(trainer__global_step=step, train_loss=1 / (step + 2), epoch=step // 10, lr=0.1, **losses)
    for number, cell in enumerate(ledger.cells):
        result = (ledger.out / "cells" / cell["cell_id"] / "result.json").read_text()
        file = start_run(ledger.sweep, cell, 1_700_000_000 + number)
        file.records += rows.records
        file.summary(result_json=result).exit(0)
        file.write(tmp_path / "copied" / cell["cell_id"] / "run.wandb")
    return tmp_path / "copied"


def seconds_to_load(source: Path) -> float:
    begun = time.perf_counter()
    _, frame = Collection([source]).load("kernel_size")
    assert (frame["state"] == "finished").sum() == 2 * len(SCORES) * 5 * SEEDS  # two metrics
    return time.perf_counter() - begun


def test_offline_files_load_within_a_minute_and_three_seconds_from_the_cache(folder: Path) -> None:
    first, again = seconds_to_load(folder), seconds_to_load(folder)
    print(f"{len(list(folder.iterdir()))} runs of {ROWS} rows: {first:.1f} s, from the cache {again:.2f} s")
    assert first < 60 and again < 3


def test_tables_of_a_ledger_within_ten_seconds(ledger, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analysis", "tables", "--source", str(ledger.out), "--out", str(tmp_path / "out")]
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    taken = time.perf_counter() - begun
    print(f"tables over {len(ledger.cells)} runs: {taken:.1f} s")
    assert taken < 10
