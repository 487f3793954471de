"""Files of a cell that were cut or lost: it goes on from what is whole, and ends as if nothing had happened."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_xvol.ledger.record import cell_folder


def cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.fixture(scope="session")
def stopped(tmp_path_factory: pytest.TempPathFactory, make_bench: Callable[[Path], Any]) -> tuple[Any, Any, Any]:
    """The ledger of a cell that failed in step 13, having saved at 5 and 10; the same cell run through; its flags."""
    benches = [make_bench(tmp_path_factory.mktemp(name)) for name in ("stopped", "whole")]
    switch = tmp_path_factory.mktemp("switch") / "on"
    flags = (
        *(*benches[0].quick, "--launcher", "local", "--only", "kernel_size=1", "--only", "operator=Raises"),
        *("--set", "operator.name=faulty_operators:Raises", "--set", f"operator.switch={switch}"),
        # 3 steps an epoch: both checkpoints lie within one, and that of step 10 beside a row of metrics.csv.
        *("--set", "operator.at=13", "--set", "data.limit=96"),
    )
    switch.touch()
    assert benches[0].here(*flags).code == 1
    switch.unlink()
    assert benches[1].here(*flags).code == 0
    [cell] = benches[0].ledger.ids()
    assert benches[0].ledger.newest_step(cell) == 10
    return benches[0].ledger, benches[1].ledger, flags


DAMAGES: dict[str, tuple[Callable[[Path], Any], int]] = {
    "nothing": (lambda folder: None, 10),
    "newest checkpoint cut": (lambda folder: cut(folder / "checkpoints" / "step=00000010.ckpt"), 5),
    "newest checkpoint empty": (lambda folder: cut(folder / "checkpoints" / "step=00000010.ckpt", 0), 5),
    "both checkpoints cut": (lambda folder: [cut(path) for path in (folder / "checkpoints").glob("step=*")], 0),
    "metrics.csv cut": (lambda folder: cut(folder / "metrics.csv", 0.77), 10),
    "metrics.csv lost": (lambda folder: (folder / "metrics.csv").unlink(), 10),
    "result.json cut": (lambda folder: (folder / "result.json").write_text('{\n "cell_id": "0123'), 10),
    "result.json empty": (lambda folder: (folder / "result.json").touch(), 10),
    "result.json of another schema": (lambda folder: (folder / "result.json").write_text('{"status": "finished"}'), 10),
    "segments.json cut": (lambda folder: cut(folder / "segments.json"), 10),
    "failure.json cut": (lambda folder: cut(folder / "failure.json"), 10),
    "config.yaml lost": (lambda folder: (folder / "config.yaml").unlink(), 10),
    "a file of a dead writer": (lambda folder: (folder / "checkpoints" / ".step=00000015.ckpt.9.tmp").touch(), 10),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_unfinished_cell_goes_on_from_what_is_whole(
    damage: str, bench: Any, stopped: tuple[Any, Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    begun, whole, flags = stopped
    shutil.copytree(begun.out, bench.out)
    [cell] = bench.ledger.ids()
    harm, start_step = DAMAGES[damage]
    harm(cell_folder(bench.out, cell))
    assert set(bench.states(*flags).values()) == {"failed"}
    ended = bench.here(*flags, "--cell", cell)
    assert ended.code == 0, ended
    assert bench.ledger.essence() == whole.essence()
    assert bench.ledger.segments()[cell][-1]["start_step"] == start_step
    said = "falling back" in (bench.ledger.cells / cell / "log.txt").read_text() + caplog.text
    assert said == ("checkpoint" in damage)
    left = {path.name for path in (bench.ledger.cells / cell).iterdir()}
    assert not left & {"failure.json", "segments.json"}
    assert not list(bench.ledger.cells.rglob(".*.tmp"))


@pytest.mark.parametrize(
    ("name", "share"), [("result.json", 0), ("result.json", 0.4), ("result.json", 0.99), ("metrics.csv", 0.6)]
)
def test_a_finished_cell_whose_record_is_cut_is_run_again(
    name: str, share: float, bench: Any, stopped: tuple[Any, Any, Any]
) -> None:
    _, whole, flags = stopped
    [result] = whole.results().values()
    last_epoch = 7
    assert result["metrics"]["val_top1"]["best_epoch"] != last_epoch, "the weights of the best epoch must be needed"
    shutil.copytree(whole.out, bench.out)
    [cell] = bench.ledger.ids()
    cut(bench.ledger.cells / cell / name, share)
    assert set(bench.states(*flags).values()) == {"interrupted"}
    ended = bench.here(*flags)
    assert ended.code == 0 and "1 cells, 0 done, 1 to run" in ended.out
    assert bench.ledger.essence() == whole.essence()


def test_damaged_tables_and_plans_are_written_again(bench: Any, undisturbed: Any) -> None:
    shutil.copytree(undisturbed.out, bench.out)
    folder = bench.out / "kernel_size"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".json", ".csv", ".md")}
    for path in folder.iterdir():
        cut(path)
    assert bench.here(*bench.four_cells, "--jobs", "2").code == 0
    assert {name: (folder / name).read_bytes() for name in before} == before
