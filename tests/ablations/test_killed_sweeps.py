"""kill -9 to a sweep, again and again, and two sweeps on one ledger: nothing is lost, nothing done twice."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest


def is_free(folder: Any) -> bool:
    from lightning_xvol.ledger.locking import is_held

    return not is_held(folder)


class Kills:
    """Kills commands of one sweep, and keeps what must hold at the end."""

    def __init__(self, bench: Any) -> None:
        self.ledger = bench.ledger
        self.count = 0
        self.steps: list[dict[str, int]] = []  # after each kill, the newest step of every unfinished cell
        self.finished: dict[str, dict[str, Any]] = {}  # per cell that was finished at a kill its files

    def kill(self, command: Any) -> None:
        assert command.process.poll() is None, "the sweep ended before the kill: it is too short"
        before = self.ledger.results()
        command.kill()
        self.count += 1
        assert all(is_free(self.ledger.cells / cell) for cell in self.ledger.ids())
        self.steps.append(self.ledger.unfinished_steps())
        for cell in before:
            self.finished.setdefault(cell, self.ledger.files([cell]))

    def check(self, undisturbed: dict[str, Any]) -> tuple[int, int]:
        """What must hold after the sweep has ended; returns how many cells were interrupted and how many resumed."""
        assert self.ledger.essence() == undisturbed
        for cell, files in self.finished.items():
            assert self.ledger.files([cell]) == files, "a finished cell is touched"
        interrupted = {cell for steps in self.steps for cell in steps}
        segments = self.ledger.segments()
        for cell in segments:
            starts = [segment["start_step"] for segment in segments[cell]]
            # Each process went on from the newest checkpoint that the one before it left.
            assert starts == sorted(starts) and starts[0] == 0
            assert set(starts) <= {0, *(steps[cell] for steps in self.steps if cell in steps)}
            if cell not in interrupted:
                assert len(starts) == 1, "a cell that no kill hit is trained once"
            last = max((steps[cell] for steps in self.steps if cell in steps), default=0)
            assert last in starts, "no checkpoint is given up"
        resumed = {cell for cell in interrupted if any(segment["start_step"] > 0 for segment in segments[cell])}
        return len(interrupted), len(resumed)


def test_kills(bench: Any, undisturbed: Any) -> None:
    """The first kill hits cells whose data come from loader processes, the second comes beside a finished cell."""
    arguments = (*bench.four_cells, "--jobs", "2")
    kills = Kills(bench)

    command = bench.start(*arguments, "--set", "data.workers=1")
    command.wait_for("a checkpoint", lambda: any(bench.ledger.unfinished_steps().values()))
    assert len(command.processes()) >= 6, "launcher, server, two workers and their loaders"
    kills.kill(command)
    assert "interrupted" in bench.states(*arguments).values()

    before = bench.ledger.unfinished_steps()
    assert any(before.values())

    def further() -> bool:
        steps = bench.ledger.unfinished_steps()
        return len(bench.ledger.results()) > 0 and any(step > before.get(cell, 0) for cell, step in steps.items())

    command = bench.start(*arguments)
    command.wait_for("a finished cell and a new checkpoint", further)
    kills.kill(command)

    ended = bench.here(*arguments)
    assert ended.code == 0, ended
    interrupted, resumed = kills.check(undisturbed.essence())
    assert interrupted >= 2 and resumed >= 1


def test_two_launchers(bench: Any, undisturbed: Any) -> None:
    """Both at work on one ledger."""
    other = bench.start(*bench.four_cells)
    other.wait_for("its first line", other.has_printed)
    ended = bench.here(*bench.four_cells, "--jobs", "1", "--launcher", "local")
    assert ended.code == 0 and "[4/4]" in ended.err, ended
    ended = other.ended()
    assert ended.code == 0 and "[4/4]" in ended.err, ended
    check_trained_once(bench, undisturbed.essence())


def check_trained_once(bench: Any, undisturbed: dict[str, Any]) -> None:
    assert bench.ledger.essence() == undisturbed
    for segments in bench.ledger.segments().values():
        [segment] = segments
        assert segment["start_step"] == 0 and segment["checkpoint"] is None
    assert not list(bench.ledger.cells.glob("*/failure.json"))


LARGE = (
    *("--smoke", "--seeds", "2", "--wandb", "disabled", "--jobs", "2", "--only", "kernel_size=1,3"),
    *("--set", "data.limit=512", "--set", "train.steps=100"),
)
"""12 cells of 100 steps with a checkpoint every 5."""
STEPS = 12 * 100
LONG_SECONDS = 1500


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory, make_bench: Any) -> dict[str, Any]:
    """What comes out of the large sweep undisturbed."""
    bench = make_bench(tmp_path_factory.mktemp("large"))
    ended = bench.start(*LARGE).ended(LONG_SECONDS)
    assert ended.code == 0, ended
    assert len(bench.ledger.results()) == 12
    return bench.ledger.essence()


@pytest.mark.slow
@pytest.mark.timeout(2 * LONG_SECONDS)
def test_ten_kills_at_random(bench: Any, large: dict[str, Any]) -> None:
    """Each comes when a random part of the sweep's steps has been added, so that the ten fit in on any machine."""

    def steps() -> int:
        return sum(bench.ledger.newest_step(cell) for cell in bench.ledger.ids())

    kills, moments = Kills(bench), random.Random(20210604)
    for _ in range(10):
        command = bench.start(*LARGE)
        # Cells are only begun when everything is imported and checked.
        command.wait_for("its first line", command.has_printed)
        goal = steps() + moments.uniform(0, 0.14 * STEPS)
        command.wait_for("the moment of the kill", lambda goal=goal: steps() >= goal)
        time.sleep(moments.uniform(0, 0.5))
        kills.kill(command)
    begun = time.monotonic()
    ended = bench.start(*LARGE).ended(LONG_SECONDS)
    assert ended.code == 0, ended
    interrupted, resumed = kills.check(large)
    seconds = time.monotonic() - begun
    print(f"{kills.count} kills, {interrupted} cells interrupted, {resumed} resumed above step 0; rest {seconds:.0f} s")
    assert interrupted >= 5
    assert resumed >= interrupted / 3


@pytest.mark.slow
@pytest.mark.timeout(2 * LONG_SECONDS)
def test_two_large_launchers(bench: Any, large: dict[str, Any]) -> None:
    for ended in [command.ended(LONG_SECONDS) for command in [bench.start(*LARGE), bench.start(*LARGE)]]:
        assert ended.code == 0 and "[12/12]" in ended.err, ended
    check_trained_once(bench, large)
