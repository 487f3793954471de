"""SIGTERM to the process group of a sweep at random moments: it ends at once, leaves nothing, and goes on exactly."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from struck_sweep import StruckSweep
from sweep_bench import Bench, Ledger

MOMENTS = 10
STEPS = 160  # of the four cells together
LAUNCHERS = {"inline": ("--launcher", "inline"), "two processes": ("--jobs", "2")}
SECONDS = 10


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_sigterm_interrupts_a_sweep_with_loaders(moment: int, launcher: str, bench: Bench, undisturbed: Ledger) -> None:
    chance = random.Random(f"{launcher} {moment}")
    # Moments are counted in steps, so that they are spread over the sweep on any machine.
    steps, then = chance.randrange(STEPS - 20), chance.uniform(0, 0.5)
    sweep = StruckSweep(bench, *bench.four_cells, *LAUNCHERS[launcher])
    command = sweep.start("--set", "data.workers=2")
    command.wait_for(f"{steps} steps", lambda: command.has_printed() and sweep.steps() >= steps)
    time.sleep(then)
    began = time.monotonic()
    os.killpg(command.process.pid, signal.SIGTERM)
    ended = command.ended(60)
    assert time.monotonic() - began < SECONDS
    assert ended.code == 143, ended
    assert "Traceback" not in ended.err + ended.out
    command.all_end(max(0.5, SECONDS - (time.monotonic() - began)))
    assert not list(bench.ledger.cells.glob("*/failure.json")), "an interruption is no failure"
    sweep.finish()
    sweep.check(undisturbed.essence())
