"""The id and the result of a cell depend on its configuration alone."""

from __future__ import annotations

import random
import socket
import time
from typing import Any

import pytest

ONE = ("--only", "kernel_size=1", "--only", "operator=convolution", "--launcher", "inline")


def test_clock_and_host_change_no_result(bench: Any, undisturbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Years ago, on another host, and on a clock that jumps back and forth."""
    jumps, now = random.Random(0), time.time
    monkeypatch.setattr(time, "time", lambda: now() - 1e8 * jumps.random())
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    monkeypatch.setenv("HOSTNAME", "elsewhere")
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    cell = bench.cells(*bench.four_cells)["convolution kernel_size=1 seed=0"]
    assert bench.here(*bench.four_cells, "--cell", cell).code == 0
    assert bench.ledger.essence() == {cell: undisturbed.essence()[cell]}


def test_a_changed_recipe_makes_new_cells_in_an_old_folder(bench: Any) -> None:
    """Old cells stay as they are, no new cell goes on from them, and the table shows only the new cells."""
    flags = (*bench.quick, *ONE)
    assert bench.here(*flags).code == 0
    [old] = bench.ledger.ids()
    before = bench.ledger.files()
    changed = (*flags, "--set", "optim.weight_decay=0.01")
    ended = bench.here(*changed)
    assert ended.code == 0 and "1 cells, 0 done, 1 to run" in ended.out
    [new] = bench.ledger.ids() - {old}
    assert bench.ledger.files([old]) == before
    assert [segment["checkpoint"] for segment in bench.ledger.segments()[new]] == [None]
    assert bench.ledger.results()[new]["group_id"] != bench.ledger.results()[old]["group_id"]
    assert "n = 1" in (bench.out / "kernel_size" / "table.md").read_text()


def test_a_record_in_the_folder_of_another_cell_is_refused(bench: Any) -> None:
    """Someone moved it there. It is neither taken for the record of that cell nor overwritten."""
    flags = (*bench.quick, *ONE)
    changed = (*flags, "--set", "optim.weight_decay=0.01")
    assert bench.here(*flags).code == 0
    [old] = bench.ledger.ids()
    [new] = bench.cells(*changed).values()
    (bench.ledger.cells / old).rename(bench.ledger.cells / new)
    before = bench.ledger.files([new])
    assert set(bench.states(*changed).values()) != {"done"}
    ended = bench.here(*changed)
    assert ended.code == 1
    assert f"holds the record of run {old}, not of {new}; move it away or choose another folder" in ended.err
    assert f"has cell_id '{old}' where the sweep has '{new}'" in " ".join(ended.out.split()), "the table says why"
    assert bench.ledger.files([new]) == before
