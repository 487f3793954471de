"""A sweep whose launcher is killed or interrupted, and two launchers on one ledger: nothing is lost or done twice."""

from __future__ import annotations

import signal
import time

import pytest
from struck_sweep import StruckSweep
from sweep_bench import Bench, Ledger


def test_a_sweep_that_is_killed_twice_ends_as_if_nothing_had_happened(bench: Bench, undisturbed: Ledger) -> None:
    """The first kill hits cells whose data come from loader processes, the second comes beside a finished cell."""
    sweep = StruckSweep(bench, *bench.four_cells, "--jobs", "2")
    command = sweep.start("--set", "data.workers=1")
    command.wait_for("a checkpoint", lambda: any(bench.ledger.unfinished_steps().values()))
    assert len(command.processes()) >= 6, "launcher, server, two workers and their loaders"
    assert sweep.kill_command()
    sweep.look()
    assert "interrupted" in bench.states(*sweep.flags).values()

    [before] = sweep.left

    def further() -> bool:
        steps = bench.ledger.unfinished_steps()
        return len(bench.ledger.results()) > 0 and any(step > before.get(cell, 0) for cell, step in steps.items())

    sweep.start().wait_for("a finished cell and a new checkpoint", further)
    assert sweep.kill_command()
    sweep.finish()
    sweep.check(undisturbed.essence())
    interrupted, resumed = sweep.check_resumes()
    assert interrupted >= 2 and resumed >= 1


@pytest.mark.parametrize(
    ("number", "loaders", "jobs"),
    [
        pytest.param(signal.SIGINT, "0", "1", id="INT-1"),
        pytest.param(signal.SIGTERM, "1", "2", id="TERM-2", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, "1", "2", id="INT-2", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "0", "1", id="TERM-1", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_sweep_says_how_to_go_on_and_keeps_the_checkpoints(
    number: signal.Signals, loaders: str, jobs: str, bench: Bench, undisturbed: Ledger
) -> None:
    """A signal to the group reaches the processes that load data too. Their death is no failure of a cell."""
    sweep = StruckSweep(bench, *bench.four_cells, "--jobs", jobs)
    command = sweep.start("--set", f"data.workers={loaders}")
    command.wait_for("a checkpoint", lambda: any(bench.ledger.unfinished_steps().values()))
    command.signal(number)
    ended = command.ended()
    assert ended.code == 128 + number
    assert "Traceback" not in ended.err + ended.out
    assert ended.out.splitlines()[-1] == "interrupted; run the same command again to go on from the checkpoints"
    command.all_end()
    assert not list(bench.ledger.cells.glob("*/failure.json")), "an interruption is no failure"
    assert "interrupted" in bench.states(*bench.four_cells).values()
    sweep.finish("--jobs", "2")
    sweep.check(undisturbed.essence())
    assert sweep.check_resumes()[1] >= 1


def test_ctrl_c_while_the_pool_imports_torch_ends_it(bench: Bench) -> None:
    command = bench.start(*bench.four_cells, "--jobs", "2")
    command.wait_for("more than one process", lambda: len(command.processes()) > 1)
    time.sleep(1)
    for _ in range(3):  # an impatient user
        command.signal(signal.SIGINT)
        time.sleep(0.1)
    ended = command.ended()
    assert (ended.code, ended.err) == (130, "")
    assert len(ended.out.split("interrupted; run the same command again")) == 2
    command.all_end()


def test_two_launchers_on_one_ledger_train_each_cell_once(bench: Bench, undisturbed: Ledger) -> None:
    other = bench.start(*bench.four_cells)
    other.wait_for("its first line", other.has_printed)
    for ended in (bench.here(*bench.four_cells, "--jobs", "1", "--launcher", "local"), other.ended()):
        assert ended.code == 0 and "[4/4]" in ended.err, ended
    sweep = StruckSweep(bench)
    sweep.check(undisturbed.essence())
    assert sweep.check_resumes() == (0, 0)
    assert not list(bench.ledger.cells.glob("*/failure.json"))
