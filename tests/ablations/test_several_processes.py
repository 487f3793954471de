"""Cells of two processes each (DDP on CPUs) in a sweep: one record and one W&B run, whatever is killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FLAGS = (
    *("--smoke", "--seeds", "1", "--only", "kernel_size=1", "--only", "operator=convolution,xvolution"),
    *("--gpus-per-cell", "2", "--set", "data.limit=512", "--set", "train.steps=40"),
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, make_bench: Callable[[Path], Any]) -> Any:
    """Run through without a fault, one cell at a time and tracked."""
    bench = make_bench(tmp_path_factory.mktemp("pairs"))
    ended = bench.here(*FLAGS)
    assert ended.code == 0 and "[2/2]" in ended.err, ended
    return bench.ledger


def test_one_record_and_one_tracked_run(pairs: Any) -> None:
    assert len(pairs.results()) == 2
    for cell, result in pairs.results().items():
        assert result["config"]["train"]["devices"] == 2 and len(result["segments"]) == 1
        # 512 images: one counted twice, or not at all, would leave the grid.
        share = result["metrics"]["top1"]["last"] / 100 * 512
        assert share == pytest.approx(round(share), abs=1e-3)
        assert len(list((pairs.cells / cell / "wandb").glob("offline-run-*"))) == 1
        log = (pairs.cells / cell / "log.txt").read_text()
        assert log.count("---") == 2, "a line of each process"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process(rank: int, bench: Any, pairs: Any) -> None:
    """Its cell fails at once and the other one goes on; the same command ends it as if nothing had happened."""
    flags = (*FLAGS, "--wandb", "disabled", "--jobs", "2")
    command = bench.start(*flags)
    command.wait_for("a checkpoint", lambda: any(bench.ledger.unfinished_steps().values()))
    [cell, *_] = [cell for cell, step in bench.ledger.unfinished_steps().items() if step]
    os.kill(process_of(bench.ledger.cells / cell, rank), signal.SIGKILL)
    ended = command.ended()
    assert ended.code == 1 and len(bench.ledger.results()) == 1, ended
    ended = bench.here(*flags)
    assert ended.code == 0, ended
    assert bench.ledger.essence() == pairs.essence()
    assert any(parts[-1]["start_step"] > 0 for parts in bench.ledger.segments().values()), cell


def process_of(folder: Path, rank: int) -> int:
    """Both have put their number into the cell's log; the first one holds its lock."""
    inode = f":{(folder / '.lock').stat().st_ino}"
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    [first] = [int(words[4]) for words in locks if words[5].endswith(inode)]
    [second] = {int(number) for number in re.findall(r", process (\d+)", (folder / "log.txt").read_text())} - {first}
    return (first, second)[rank]
