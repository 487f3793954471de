"""A thousand runs: offline files of a thousand rows each, and a ledger; and ten thousand runs in a thousand rows."""

from __future__ import annotations

import json
import resource
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


@pytest.mark.parametrize("command", ["summary", "tables"])
def test_ten_thousand_runs_in_a_thousand_rows_within_ten_seconds(make_ledger, tmp_path: Path, command: str) -> None:
    """The seconds are those of one processor, which other work on the machine lengthens less than those of a clock."""
    runs = make_ledger({"convolution": {size: [50.0, 60.0] for size in (1, 3, 5, 7, 9)}})
    first = list(runs.cells)
    for row in range(1, 1000):
        for cell in first:
            own = f"{row}-{cell['cell_id']}"
            group = f"{row}-{cell['group_id']}"
            named = {"operator": f"row_{row}", "label": f"Row {row}", "cell_id": own, "group_id": group}
            runs.cells.append({**cell, **named})
            result = json.loads((runs.out / "cells" / cell["cell_id"] / "result.json").read_text())
            (runs.out / "cells" / own).mkdir()
            result |= {"cell_id": own, "group_id": group}
            (runs.out / "cells" / own / "result.json").write_text(json.dumps(result))
    runs.sweep["controls"] = {}
    runs.write_sweep()
    out = ["--out", str(tmp_path / "out")] if command == "tables" else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "analysis", command, "--source", str(runs.out), *out],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{command} over {len(runs.cells)} runs: {taken:.1f} s, {after.ru_maxrss / 1024:.0f} MiB")
    assert taken < 10 and after.ru_maxrss < 600 * 1024
    if command == "tables":
        assert "1000 rows are more than the 100 that a figure can show" in done.stdout
