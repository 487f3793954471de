"""The progress of a sweep: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import threading
from typing import Any

import pytest

from ablations.engine.cells import make_cells
from ablations.engine.progress import Progress, _shortened
from ablations.kernel_size import SWEEP
from lightning_xvol.commandline import Reached, duration
from lightning_xvol.config.recipes import get_recipe


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (61, "1 min 1 s"),
        (119.7, "2 min 0 s"),
        (200, "3 min 20 s"),
        (3599.9, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (100000, "27 h 46 min"),
    ],
)
def test_durations_are_rounded_to_whole_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_lines_count_up_and_tell_the_time_left(capsys: Any, monkeypatch: Any) -> None:
    cells = make_cells(SWEEP, get_recipe("match_small"), seeds=1)[:4]
    clock = [0.0]
    monkeypatch.setattr("ablations.engine.progress.time.monotonic", lambda: clock[0])
    with Progress(cells, total=6) as progress:  # two were done before
        assert progress.seconds_left() is None
        for cell in cells[:3]:
            progress.started(cell)
        clock[0] = 30.0
        progress.progressed(cells[0], Reached(5, 10))
        assert progress.seconds_left() == pytest.approx(30 * 3.5 / 0.5)
        progress.ended(cells[0], "done", "top1 50.0")
        progress.ended(cells[1], "failed", "RuntimeError: no")
        progress.ended(cells[2], "held", "another process works on it")
        progress.started(cells[3])
        progress.ended(cells[3], "diverged", "")
        progress.started(cells[2])
        progress.ended(cells[2], "done", "top1 60.0")
    assert capsys.readouterr().err.splitlines() == [
        f"[3/6] {cells[0].name}: top1 50.0; about 1 min 30 s left",
        f"[4/6] {cells[1].name}: failed (RuntimeError: no); about 30 s left",
        f"[5/6] {cells[3].name}: diverged; about 10 s left",
        f"[6/6] {cells[2].name}: top1 60.0",
    ]
    assert [cell for cell, _ in progress.failures] == [cells[1]] and progress.ended_here == 4


def test_a_terminal_shows_bars_and_a_line_for_each_cell(bench: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    controller, terminal = pty.openpty()
    chunks: list[bytes] = []

    def read() -> None:
        # A helper process of multiprocessing keeps the terminal open, so the test writes the end itself.
        while not chunks or b"\0" not in chunks[-1]:
            chunks.append(os.read(controller, 4096))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    only = ("--only", "kernel_size=1", "--only", "operator=convolution,xvolution")
    with os.fdopen(terminal, "w") as stderr:
        ended = bench.here(*bench.quick, *only, "--jobs", "2", stderr=stderr)
        stderr.write("\0")
    reader.join()
    os.close(controller)
    shown = b"".join(chunks).decode()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "")
    assert ended.code == 0 and "2 cells in" in ended.out, text
    assert "\x1b[" in shown and "━" in text and "0/2" in text, "bars"
    assert "[1/2]" in text and "[2/2]" in text
    assert re.search(r"loss \d\.\d{3}, top1 \d+\.\d", text), "each cell has its loss and its last validation"
    assert len(bench.ledger.results()) == 2


@pytest.mark.parametrize("width", range(3, 12))
def test_a_long_name_loses_its_middle(width: int) -> None:
    short = _shortened("row seed=0", width)
    start, cut, end = short.partition("…")
    assert len(short) == min(width, 10) and "row seed=0".startswith(start) and (not cut or "row seed=0".endswith(end))
