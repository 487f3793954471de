"""A hundred random faults over a sweep of 30 tiny cells: none lost, none run twice after it finished, none different.

`FAULTS=10 SEED=7 pytest -m slow tests/ablations/test_hundred_faults.py` makes fewer, or others.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAULTS = int(os.environ.get("FAULTS", "100"))
SEED = int(os.environ.get("SEED", "20210604"))
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
MOST_COMMANDS = 5

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * PATIENCE_SECONDS)]


class Chaos:
    """A sweep, and what happens to it."""

    def __init__(self, bench: Any, random: random.Random) -> None:
        self.bench, self.ledger, self.random = bench, bench.ledger, random
        self.commands: list[Any] = []
        self.finished: dict[str, dict[str, Any]] = {}  # per cell its files when its record was first seen
        self.counts: Counter[str] = Counter()
        self.faults: dict[str, tuple[int, Callable[[], bool]]] = {  # weight, and what returns whether it hit anything
            "worker killed": (35, self.kill_worker),
            "launcher killed": (20, self.kill_launcher),
            "checkpoint torn": (20, self.tear_checkpoint),
            "record cut": (15, self.cut_record),
            "second launcher": (10, self.start_another),
        }

    def alive(self) -> list[Any]:
        return [command for command in self.commands if command.process.poll() is None]

    def steps(self) -> int:
        return sum(self.ledger.newest_step(cell) for cell in self.ledger.ids())

    def wait_for_progress(self, faults_left: int) -> None:
        """Until a random part of what is left of the sweep is done, so that the faults spread over all of it."""
        goal = self.steps() + self.random.uniform(0, 1.5) * (STEPS * CELLS - self.steps()) / (faults_left + 1)
        end = time.monotonic() + PATIENCE_SECONDS
        while self.steps() < goal:
            assert time.monotonic() < end, "the sweep is stuck"
            if not self.alive():  # it has ended with cells that failed
                self.start()
            time.sleep(0.02)

    def start(self) -> None:
        self.commands.append(self.bench.start(*FLAGS))

    def strike(self) -> None:
        """One fault, of those that find something to hit."""
        names = list(self.faults)
        while True:
            [name] = self.random.choices(names, [self.faults[name][0] for name in names])
            if self.faults[name][1]():
                self.counts[name] += 1
                return
            time.sleep(0.05)
            if not self.alive():
                self.start()

    def remember_finished(self) -> None:
        for cell in self.whole_records():
            self.finished.setdefault(cell, self.record(cell))

    def record(self, cell: str) -> dict[str, Any]:
        """Time, inode and hash of what a second training would write anew. Others may look in, which the log tells."""
        names = {f"{cell}/result.json", f"{cell}/metrics.csv"}
        return {name: what for name, what in self.ledger.files([cell]).items() if name in names}

    def whole_records(self) -> list[str]:
        from lightning_xvol.ledger.record import read_result

        return sorted(cell for cell in self.ledger.ids() if read_result(self.ledger.cells / cell))

    def workers(self) -> dict[str, int]:
        """Cell to process, by the locks that the system knows of."""
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        holders = {int(words[5].rpartition(":")[2]): int(words[4]) for words in locks if words[1] == "POSIX"}
        paths = {cell: self.ledger.cells / cell / ".lock" for cell in sorted(self.ledger.ids())}
        inodes = {cell: path.stat().st_ino for cell, path in paths.items() if path.exists()}
        return {cell: holders[inode] for cell, inode in inodes.items() if holders.get(inode, 0) > 0}

    def kill_worker(self, among: list[str] | None = None) -> bool:
        workers = {cell: pid for cell, pid in self.workers().items() if among is None or cell in among}
        if not workers:
            return False
        cell = self.random.choice(list(workers))
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[cell], signal.SIGKILL)
        return True

    def kill_launcher(self) -> bool:
        """Its workers end by themselves."""
        alive = [command for command in self.alive() if command.has_printed()]
        if not alive:
            return False
        self.random.choice(alive).kill()
        return True

    def tear_checkpoint(self) -> bool:
        """The newest one of an unfinished cell, whose process, if it has one, is killed first."""
        begun = sorted(cell for cell in self.ledger.ids() - {*self.whole_records()} if self.ledger.newest_step(cell))
        if not begun:
            return False
        cell = self.random.choice(begun)
        if self.kill_worker([cell]):
            end = time.monotonic() + 10
            while cell in self.workers() and time.monotonic() < end:
                time.sleep(0.01)
        checkpoints = sorted((self.ledger.cells / cell / "checkpoints").glob("step=*.ckpt"))
        if cell in self.whole_records() or not checkpoints:
            return False  # it was quicker
        os.truncate(checkpoints[-1], int(self.random.random() * checkpoints[-1].stat().st_size))
        return True

    def cut_record(self) -> bool:
        whole = self.whole_records()
        if not whole:
            return False
        cell = self.random.choice(whole)
        self.finished.pop(cell, None)  # it has to be run again
        path = self.ledger.cells / cell / self.random.choice(["result.json", "metrics.csv"])
        os.truncate(path, int(self.random.random() * path.stat().st_size))
        return True

    def start_another(self) -> bool:
        if len(self.alive()) > 1:
            return False
        self.start()
        return True

    def end(self) -> None:
        """Run the command until it says that all is done."""
        for command in self.alive():
            command.ended(PATIENCE_SECONDS)
        for _ in range(MOST_COMMANDS):
            self.start()
            if self.commands[-1].ended(PATIENCE_SECONDS).code == 0:
                return
        pytest.fail(f"not done after {MOST_COMMANDS} more commands: {self.commands[-1].ended()}")


@pytest.fixture
def undisturbed_tiny(make_bench: Callable[[Path], Any], tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "undisturbed").mkdir()
    bench = make_bench(tmp_path / "undisturbed")
    ended = bench.start(*FLAGS).ended(PATIENCE_SECONDS)
    assert ended.code == 0, ended
    assert len(bench.ledger.results()) == CELLS
    return bench.ledger.essence()


def test_faults(bench: Any, undisturbed_tiny: dict[str, Any]) -> None:
    begun = time.monotonic()
    chaos = Chaos(bench, random.Random(SEED))
    chaos.start()
    for number in range(FAULTS):
        chaos.wait_for_progress(FAULTS - number)
        chaos.remember_finished()
        chaos.strike()
    chaos.remember_finished()
    chaos.end()
    interrupted = sum(len(segments) > 1 for segments in bench.ledger.segments().values())
    resumed = sum(any(part["start_step"] for part in segments) for segments in bench.ledger.segments().values())
    print(
        f"{sum(chaos.counts.values())} faults {dict(chaos.counts)}, {len(chaos.commands)} commands, "
        f"{interrupted} cells interrupted, {resumed} resumed above step 0, {time.monotonic() - begun:.0f} s"
    )
    essence = bench.ledger.essence()
    lost = set(undisturbed_tiny) - set(essence)
    different = [cell for cell in essence if essence[cell] != undisturbed_tiny.get(cell)]
    twice = [cell for cell, files in chaos.finished.items() if chaos.record(cell) != files]
    assert (len(lost), len(twice), len(different)) == (0, 0, 0), json.dumps([*lost, *twice, *different])
    assert not list(bench.ledger.cells.rglob(".*.tmp"))
    assert resumed >= min(10, FAULTS // 5)
