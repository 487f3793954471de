"""Many random faults over a sweep of 30 tiny cells: no cell is lost, none is run again, none is different.

`FAULTS=10 SEED=7 pytest -m slow tests/ablations/test_many_faults.py` makes fewer, or others.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from struck_sweep import StruckSweep
from sweep_bench import Bench

FAULTS = int(os.environ.get("FAULTS", "100"))
SEED = int(os.environ.get("SEED", "20210604"))
KILLS = 10
STEPS, CELLS = 60, 30
TINY = {
    "backbone.blocks": "1,1,1,1",
    "backbone.widths": "4,4,8,8",
    "backbone.stem_width": 4,
    "data.train_size": 160,
    "data.validation_size": 40,
    "data.test_size": 40,
    "data.batch_size": 8,
    "train.steps": STEPS,
    "train.checkpoint_every": 4,
}
FLAGS = (
    *("--seeds", "2", "--wandb", "disabled", "--jobs", "2"),
    *(flag for path, value in TINY.items() for flag in ("--set", f"{path}={value}")),
)
PATIENCE_SECONDS = 1800

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * PATIENCE_SECONDS)]


@pytest.fixture(scope="module")
def undisturbed_tiny(make_bench: Callable[[Path], Bench], tmp_path_factory: Any) -> dict[str, Any]:
    bench = make_bench(tmp_path_factory.mktemp("undisturbed"))
    ended = bench.here(*FLAGS)
    assert ended.code == 0, ended
    assert len(bench.ledger.results()) == CELLS
    return bench.ledger.essence()


def wait_for_progress(sweep: StruckSweep, steps: float) -> None:
    """Wait until the sweep has done `steps` more. A command that has ended is started again."""
    goal, end = min(sweep.steps() + steps, STEPS * CELLS), time.monotonic() + PATIENCE_SECONDS
    while sweep.steps() < goal:
        assert time.monotonic() < end, "the sweep is stuck"
        if not sweep.running():
            sweep.start()
        time.sleep(0.02)


def test_ten_kills_at_random_moments_cost_no_checkpoint(bench: Bench, undisturbed_tiny: dict[str, Any]) -> None:
    sweep = StruckSweep(bench, *FLAGS, seed=SEED, patience=PATIENCE_SECONDS)
    for _ in range(KILLS):
        command = sweep.start()
        command.wait_for("its first line", command.has_printed)
        wait_for_progress(sweep, sweep.random.uniform(0, 1.4 / KILLS * STEPS * CELLS))
        time.sleep(sweep.random.uniform(0, 0.5))
        assert sweep.kill_command(), "the sweep ended before the kill: it is too short"
        sweep.look()
    sweep.finish()
    sweep.check(undisturbed_tiny)
    interrupted, resumed = sweep.check_resumes()
    print(f"{KILLS} kills, {interrupted} cells interrupted, {resumed} resumed above step 0")
    assert interrupted >= 5 and resumed >= interrupted / 3


def test_a_hundred_faults_change_nothing(bench: Bench, undisturbed_tiny: dict[str, Any]) -> None:
    """The faults spread over the whole sweep: each waits for a random part of the steps that are left."""
    sweep = StruckSweep(bench, *FLAGS, seed=SEED, patience=PATIENCE_SECONDS)
    faults: dict[Callable[[], bool], int] = {  # with their weights
        sweep.kill_worker: 35,
        sweep.kill_command: 20,
        sweep.tear_checkpoint: 20,
        sweep.cut_record: 15,
        sweep.start_another: 10,
    }
    counts: Counter[str] = Counter()
    sweep.start()
    for number in range(FAULTS):
        left = STEPS * CELLS - sweep.steps()
        wait_for_progress(sweep, sweep.random.uniform(0, 1.5) * left / (FAULTS - number + 1))
        sweep.look()
        while True:
            [fault] = sweep.random.choices(list(faults), list(faults.values()))
            if fault():
                counts[fault.__name__] += 1
                break
            wait_for_progress(sweep, 0)
            time.sleep(0.05)
            if not sweep.running():
                sweep.start()
    sweep.finish(attempts=5)
    segments = bench.ledger.segments().values()
    resumed = sum(any(part["start_step"] for part in parts) for parts in segments)
    print(f"{counts.total()} faults {dict(counts)}, {len(sweep.commands)} commands, {resumed} resumed above step 0")
    sweep.check(undisturbed_tiny)
    assert resumed >= min(10, FAULTS // 5)
