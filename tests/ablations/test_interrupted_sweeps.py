"""Ctrl-C: SIGINT to every process of the command, as a terminal sends it."""

from __future__ import annotations

import time
from typing import Any

import pytest


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_while_it_trains(jobs: str, bench: Any, undisturbed: Any) -> None:
    command = bench.start(*bench.four_cells, "--jobs", jobs)
    command.wait_for("a checkpoint", lambda: any(bench.ledger.unfinished_steps().values()))
    command.interrupt()
    ended = command.ended()
    assert ended.code == 130
    assert "Traceback" not in ended.err + ended.out
    assert ended.out.splitlines()[-1] == "interrupted; run the same command again to go on from the checkpoints"
    command.all_end()
    assert not list(bench.ledger.cells.glob("*/failure.json")), "an interruption is no failure"
    steps = bench.ledger.unfinished_steps()
    assert "interrupted" in bench.states(*bench.four_cells).values()

    assert bench.here(*bench.four_cells, "--jobs", "2").code == 0
    assert bench.ledger.essence() == undisturbed.essence()
    segments = bench.ledger.segments()
    for cell, step in steps.items():
        assert segments[cell][-1]["start_step"] == step


def test_while_it_starts(bench: Any) -> None:
    """In the seconds in which the pool imports torch."""
    command = bench.start(*bench.four_cells, "--jobs", "2")
    command.wait_for("more than one process", lambda: len(command.processes()) > 1)
    time.sleep(1)
    command.interrupt()
    ended = command.ended()
    assert (ended.code, ended.err) == (130, "")
    assert len(ended.out.split("interrupted; run the same command again")) == 2
    command.all_end()
