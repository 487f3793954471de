"""Cells of two processes each (DDP on CPUs) in a sweep: one record and one W&B run, also after a process was killed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from struck_sweep import StruckSweep
from sweep_bench import Bench, Ledger

pytestmark = pytest.mark.slow

FLAGS = (
    *("--smoke", "--seeds", "1", "--only", "kernel_size=1", "--only", "operator=convolution,xvolution"),
    *("--gpus-per-cell", "2", "--set", "data.limit=512", "--set", "train.steps=40"),
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, make_bench: Callable[[Path], Bench]) -> Ledger:
    """The ledger of a run without a fault, one cell at a time and tracked."""
    bench = make_bench(tmp_path_factory.mktemp("pairs"))
    ended = bench.here(*FLAGS)
    assert ended.code == 0 and "[2/2]" in ended.err, ended
    return bench.ledger


def test_two_processes_leave_one_record_and_one_tracked_run(pairs: Ledger) -> None:
    assert len(pairs.results()) == 2
    for cell, result in pairs.results().items():
        assert result["config"]["train"]["devices"] == 2 and len(result["segments"]) == 1
        # 512 images: an image that is counted twice, or not at all, would give a share that is no multiple of 1/512.
        share = result["metrics"]["top1"]["last"] / 100 * 512
        assert share == pytest.approx(round(share), abs=1e-3)
        assert len(list((pairs.cells / cell / "wandb").glob("offline-run-*"))) == 1
        log = (pairs.cells / cell / "log.txt").read_text()
        assert log.count("---") == 2, "a line of each process"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_cell_whose_process_is_killed_fails_and_is_resumed(rank: int, bench: Bench, pairs: Ledger) -> None:
    """The other cell goes on, and the same command ends the failed one as if nothing had happened."""
    sweep = StruckSweep(bench, *FLAGS, "--wandb", "disabled", "--jobs", "2")
    command = sweep.start()
    command.wait_for("a checkpoint", lambda: any(bench.ledger.unfinished_steps().values()))
    [cell, *_] = [cell for cell, step in bench.ledger.unfinished_steps().items() if step]
    os.kill(process_of(bench.ledger, cell, rank), signal.SIGKILL)
    ended = command.ended()
    assert ended.code == 1 and len(bench.ledger.results()) == 1, ended
    sweep.finish()
    sweep.check(pairs.essence())
    assert sweep.check_resumes() == (1, 1)


def process_of(ledger: Ledger, cell: str, rank: int) -> int:
    """The process of a cell. Both have written their number into its log; the first one holds its lock."""
    first = ledger.workers()[cell]
    log = (ledger.cells / cell / "log.txt").read_text()
    [second] = {int(number) for number in re.findall(r", process (\d+)", log)} - {first}
    return (first, second)[rank]
