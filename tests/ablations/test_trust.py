"""`--cell ID` of a ledger that names classes by import path, which the command line does not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

PATH = "faulty_operators:Sound"


def test_a_cell_of_a_foreign_ledger_needs_trust_and_a_typed_path_needs_none(bench: Any) -> None:
    typed = (*bench.quick, "--set", f"operator.name={PATH}", "--only", "kernel_size=1", "--only", "operator=Sound")
    assert bench.here(*typed).code == 0
    [cell] = bench.ledger.ids()
    whole = bench.ledger.essence()

    def interrupt() -> None:
        (bench.ledger.cells / cell / "result.json").unlink(missing_ok=True)
        sys.modules.pop("faulty_operators", None)

    for chosen in (cell, cell[:6]):
        interrupt()
        before = bench.ledger.files()
        refused = bench.here(*bench.quick, "--cell", chosen)
        assert (refused.code, refused.out) == (2, "")
        assert f"config.yaml' names the import path '{PATH}'" in refused.one_error and "--trust" in refused.err
        assert "faulty_operators" not in sys.modules and bench.ledger.files() == before
    for arguments in ((*bench.quick, "--cell", cell, "--trust"), typed):
        interrupt()
        ended = bench.here(*arguments)
        assert ended.code == 0, ended.err
        assert bench.ledger.essence() == whole


def test_a_ledger_without_that_cell_or_with_a_damaged_one_is_no_way_in(bench: Any) -> None:
    folder = bench.ledger.cells / "0123456789ab"
    folder.mkdir(parents=True)
    contents = (b"operator: [", b"- 1", b"\xff\xfe", b"operator: {name: 5}", b"operator: {name: pssa}", b"")
    for content in contents:
        (folder / "config.yaml").write_bytes(content)
        for cell in ("0123", "fffff"):
            ended = bench.here(*bench.quick, "--cell", cell, "--trust")
            assert (ended.code, ended.out) == (2, "")
            assert f"--cell '{cell}' names 0 cells" in ended.one_error


def test_tasks_of_slurm_unpickle_nothing_that_a_ledger_brings_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit's tasks run what lies under the number of their job, also where it lay there before."""
    submitit = pytest.importorskip("submitit")
    from ablations.engine.cell import SweepContext
    from ablations.engine.launchers.slurm import Resources, SlurmLauncher

    class Stops(Exception):
        pass

    folders = []

    def executor(folder: str, **_: Any) -> None:
        folders.append(Path(folder))
        assert folders[-1].is_absolute() and not list(folders[-1].iterdir())
        assert folders[-1].stat().st_mode & 0o777 == 0o700
        raise Stops

    monkeypatch.setattr(submitit, "SlurmExecutor", executor)
    launcher = SlurmLauncher.__new__(SlurmLauncher)
    launcher.resources = Resources(None, devices=1, gpus=0, cpus=None, nodes=1, minutes=1, parallelism=None)
    context = SweepContext(tmp_path, "kernel_size", None, False, "disabled", "project")
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "7_0_submitted.pkl").write_bytes(b"hostile")
    for _ in range(2):
        with pytest.raises(Stops):
            launcher._submit([], context)
    assert len(set(folders)) == 2 and all(folder.parent == tmp_path / "slurm" for folder in folders)
