"""Cells that fail, die or diverge beside cells that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FAULTS = ("Raises", "Exits", "Killed", "SystemExits", "MakesNaN")
ERRORS = {
    "Raises": "RuntimeError: größe 中: broken on purpose",
    "Exits": "its process ended with code 7 and no result",
    "Killed": "its process was killed by SIGKILL",
    "SystemExits": "its process ended with code 1 and no result",
}


def rows(*names: str) -> tuple[str, ...]:
    plugins = [argument for name in names for argument in ("--set", f"operator.name=faulty_operators:{name}")]
    return (*plugins, "--only", "kernel_size=1", "--jobs", "2")


def only(*names: str) -> tuple[str, ...]:
    return ("--only", f"operator={','.join(names)}")


def test_the_others_go_on_and_failures_are_tried_again(bench: Any, tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    switch.touch()
    names = ("convolution", "Sound", *FAULTS)
    arguments = (*bench.quick, *rows("Sound", *FAULTS), *only(*names))
    # The plugins have these options, the registered operators do not.
    arguments = (*arguments, "--set", "operator.at=7", "--set", f"operator.switch={switch}")
    ended = bench.here(*arguments)
    assert ended.code == 1
    cells = {name.split()[0]: cell for name, cell in bench.cells(*arguments).items()}
    states = {name.split()[0]: state for name, state in bench.states(*arguments).items()}
    assert states == {"convolution": "done", "Sound": "done", "MakesNaN": "diverged"} | dict.fromkeys(ERRORS, "failed")
    assert "[7/7]" in ended.err and "4 cells failed" in ended.out
    for name, error in ERRORS.items():
        folder = bench.ledger.cells / cells[name]
        failure = bench.ledger.failure(cells[name])
        assert (failure["error"], failure["attempt"]) == (error, 1)
        # The step where the process could still write it, else that of the last checkpoint.
        assert failure["step"] == (6 if name == "Raises" else 5)
        assert f"failed: {cells[name]} {name} kernel_size=1 seed=0: {error}; see {folder}/log.txt" in ended.out
        assert f"{name} kernel_size=1 seed=0: failed ({error})" in ended.err
        assert (folder / "log.txt").is_file()
        assert not (folder / "result.json").exists()
    log = (bench.ledger.cells / cells["Raises"] / "log.txt").read_text("utf-8")
    assert log.count("Traceback") == 1 and "faulty_operators.py" in log and "broken on purpose" in log

    finished = [cells[name] for name in ("convolution", "Sound", "MakesNaN")]
    assert bench.ledger.results()[cells["MakesNaN"]]["status"] == "diverged"
    untouched = bench.ledger.files(finished)
    again = bench.here(*arguments)
    assert again.code == 1 and "7 cells, 3 done, 4 to run" in again.out
    assert {bench.ledger.failure(cells[name])["attempt"] for name in ERRORS} == {2}
    assert bench.ledger.files(finished) == untouched

    switch.unlink()
    mended = bench.here(*arguments)
    assert mended.code == 0, mended
    results = bench.ledger.results()
    assert bench.ledger.files(finished) == untouched
    assert not list(bench.ledger.cells.glob("*/failure.json"))
    # All plugins are the same convolution: their ids differ with their names, their weights do not.
    assert len({results[cells[name]]["weights_sha256"] for name in ("Sound", *ERRORS)}) == 1
    for name in ERRORS:
        assert [segment["start_step"] for segment in results[cells[name]]["segments"]] == [0, 5, 10]


def test_diverged_is_a_result(bench: Any) -> None:
    arguments = (*bench.quick, *rows("MakesNaN"), *only("convolution", "MakesNaN"))
    ended = bench.here(*arguments)
    assert ended.code == 0
    assert "MakesNaN kernel_size=1 seed=0: diverged" in ended.err
    assert "diverged 1 of 1" in (bench.out / "kernel_size" / "table.md").read_text()
    before = bench.ledger.files()
    again = bench.here(*arguments)
    assert again.code == 0 and "2 cells, 2 done, 0 to run" in again.out
    assert bench.ledger.files() == before


def test_a_cell_whose_validation_is_nan_has_diverged(bench: Any) -> None:
    """Its loss in training is finite."""
    ended = bench.here(*bench.quick, *rows("NaNInEvaluation"), *only("NaNInEvaluation"))
    assert ended.code == 0, ended
    [result] = bench.ledger.results().values()
    assert result["status"] == "diverged"


@pytest.mark.parametrize("fail_fast", [False, True])
def test_fail_fast_starts_no_cell_after_a_failure(fail_fast: bool, bench: Any) -> None:
    arguments = (*bench.quick, *rows("Raises"), *only("Raises"), "--seeds", "3", "--jobs", "1", "--launcher", "local")
    ended = bench.here(*arguments, *["--fail-fast"] * fail_fast)
    assert ended.code == 1
    assert len(bench.ledger.ids()) == (1 if fail_fast else 3)
    assert len(ended.err.splitlines()) == (1 if fail_fast else 3)


def test_a_cell_that_fails_inline_leaves_the_next_one_alone(bench: Any) -> None:
    """Its traceback is in its log, as that of a cell of the pool is."""
    arguments = (*bench.quick, *rows("Raises", "Sound"), *only("Raises", "Sound"), "--jobs", "1")
    ended = bench.here(*arguments)
    assert ended.code == 1 and "Traceback" not in ended.err + ended.out
    states = {name.split()[0]: state for name, state in bench.states(*arguments).items()}
    assert states == {"Raises": "failed", "Sound": "done"}
    failed = bench.cells(*arguments)["Raises kernel_size=1 seed=0"]
    assert f"{ERRORS['Raises']}; see {bench.ledger.cells / failed}/log.txt" in ended.out
    assert "größe 中: broken on purpose" in (bench.ledger.cells / failed / "log.txt").read_text("utf-8")
