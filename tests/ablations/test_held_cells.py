"""Cells that another process works on, cells that run one by one, and cells that are run again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest

TWO = ("--only", "kernel_size=1", "--only", "operator=convolution,xvolution", "--jobs", "2")
NAMES = ("convolution kernel_size=1 seed=0", "xvolution kernel_size=1 seed=0")


def test_no_wait_leaves_a_held_cell(bench: Any, hold: Callable[..., Any]) -> None:
    arguments = (*bench.quick, *TWO)
    cells = bench.cells(*arguments)
    hold(bench.ledger.cells / cells[NAMES[0]], 60)
    ended = bench.here(*arguments, "--no-wait")
    assert ended.code == 3
    assert f"held: {cells[NAMES[0]]} {NAMES[0]}: another process works on it" in ended.out
    assert set(bench.ledger.results()) == {cells[NAMES[1]]}, "it goes on with the others"
    assert (bench.out / "kernel_size" / "table.md").exists()


def test_a_failure_decides_the_exit_code_beside_a_held_cell(bench: Any, hold: Callable[..., Any]) -> None:
    arguments = (*bench.quick, *TWO[:2], "--set", "operator.name=faulty_operators:Raises", "--jobs", "2")
    arguments = (*arguments, "--only", "operator=convolution,Raises")
    hold(bench.ledger.cells / bench.cells(*arguments)[NAMES[0]], 60)
    assert bench.here(*arguments, "--no-wait").code == 1


@pytest.mark.parametrize("end", ["leaves it", "is killed", "finishes it"])
def test_it_waits_for_a_held_cell(end: str, bench: Any, hold: Callable[..., Any]) -> None:
    arguments = (*bench.quick, *TWO)
    cell = bench.cells(*arguments)[NAMES[0]]
    folder, kept = bench.ledger.cells / cell, bench.folder / "kept"
    if end == "finishes it":
        assert bench.here(*arguments).code == 0
        shutil.copytree(bench.ledger.cells / cell, kept)
        shutil.rmtree(bench.ledger.cells)
    started = time.monotonic()
    holder = hold(folder, 2 if end == "leaves it" else 60)
    command = bench.in_background(*arguments)
    while len(bench.ledger.results()) < 1:
        assert not command.done(), command.result()
        time.sleep(0.05)
    if end != "leaves it":
        time.sleep(1)
        assert not command.done(), "it waits"
        if end == "finishes it":
            shutil.copytree(kept, folder, dirs_exist_ok=True)
        holder.kill()
    ended = command.result(timeout=120)
    assert ended.code == 0, ended
    assert len(bench.ledger.results()) == 2
    assert "[2/2]" in ended.err
    if end == "leaves it":
        assert time.monotonic() - started > 2
    if end == "finishes it":
        assert (folder / "result.json").read_bytes() == (kept / "result.json").read_bytes()


def test_force_keeps_the_old_cells(bench: Any) -> None:
    arguments = (*bench.quick, *TWO)
    assert bench.here(*arguments).code == 0
    first = bench.ledger.essence()
    untouched = bench.ledger.files([bench.cells(*arguments)[NAMES[0]]])
    xvolution = bench.cells(*arguments)[NAMES[1]]
    old = bench.ledger.files([xvolution])
    selected = (*bench.quick, "--only", "kernel_size=1", "--only", "operator=xvolution", "--jobs", "2", "--force")
    for number in (1, 2):
        ended = bench.here(*selected)
        assert ended.code == 0 and "1 cells, 0 done, 1 to run" in ended.out
        names = sorted(path.name for path in bench.ledger.cells.iterdir() if path.name.startswith(xvolution))
        assert names == [xvolution, *(f"{xvolution}.old-{count}" for count in range(1, number + 1))]
    assert bench.ledger.essence() == first
    assert [len(segments) for segments in bench.ledger.segments().values()] == [1, 1], "run from the start"
    assert bench.ledger.files([bench.cells(*arguments)[NAMES[0]]]) == untouched, "the selection alone"
    moved = {path.replace(xvolution, f"{xvolution}.old-1", 1): facts for path, facts in old.items()}
    assert bench.ledger.files([f"{xvolution}.old-1"]) == moved, "nothing is lost"


def test_force_refuses_where_a_process_works(bench: Any, hold: Callable[..., Any]) -> None:
    arguments = (*bench.quick, *TWO)
    assert bench.here(*arguments).code == 0
    before = bench.ledger.files()
    held = bench.ledger.cells / bench.cells(*arguments)[NAMES[1]]
    hold(held, 60)
    ended = bench.here(*arguments, "--force")
    assert ended.code == 2
    assert "--force" in ended.one_error and str(held) in ended.err
    assert bench.ledger.files() == before, "no cell is moved, not even one before it"


def test_one_cell_runs_alone_and_writes_no_table(bench: Any, hold: Callable[..., Any]) -> None:
    arguments = (*bench.quick, *TWO[:4])
    cells = bench.cells(*arguments)
    ended = bench.here(*arguments, "--cell", cells[NAMES[0]][:8])
    assert ended.code == 0, ended
    assert f"{cells[NAMES[0]]} {NAMES[0]}: done" in ended.out
    assert [path.name for path in bench.out.iterdir()] == ["cells"], "no table"
    assert set(bench.ledger.results()) == {cells[NAMES[0]]}
    before = bench.ledger.files()
    assert bench.here(*arguments, "--cell", cells[NAMES[0]]).code == 0
    listed = bench.here(*arguments, "--cell", cells[NAMES[0]], "--dry-run").out.splitlines()
    assert len(listed) == 2 and listed[0].startswith(cells[NAMES[0]])
    elsewhere = bench.here(*bench.quick, "--only", "kernel_size=9", "--cell", cells[NAMES[0]])
    assert elsewhere.code == 2 and "names 0 cells" in elsewhere.one_error
    assert bench.ledger.files() == before

    hold(bench.ledger.cells / cells[NAMES[1]], 60)
    ended = bench.here(*arguments, "--cell", cells[NAMES[1]])
    assert ended.code == 3
    assert "held (another process works on it)" in ended.out
    assert set(bench.ledger.results()) == {cells[NAMES[0]]}


def test_one_cell_may_be_shared_by_two_columns(bench: Any) -> None:
    bench.sweep = "shift_distance"
    [shared] = {cell for name, cell in bench.cells(*bench.quick).items() if name.startswith("convolution")}
    ended = bench.here(*bench.quick, "--cell", shared)
    assert ended.code == 0, ended
    assert set(bench.ledger.results()) == {shared}
