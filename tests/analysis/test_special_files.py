"""A folder that is a source may hold FIFOs, devices, links to other places and files that this user may not read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError

NOT_REGULAR, OUTSIDE, DENIED = "not a regular file", "a link to a place outside the folder", "permission denied"


def refuse(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse to open `path`, also for root."""
    system, access = os.open, os.access

    def opened(name: Any, *args: Any, **options: Any) -> int:
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return system(name, *args, **options)

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "access", lambda name, mode: str(name) != str(path) and access(name, mode))


def fifo(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(path)


def device(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.symlink_to("/dev/zero")


def denied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("{}")
    refuse(path, monkeypatch)


KINDS = [(fifo, NOT_REGULAR), (device, OUTSIDE), (denied, DENIED)]


@pytest.mark.parametrize(("put", "told"), KINDS)
@pytest.mark.parametrize("name", ["cells.json", "result.json", "failure.json", "metrics.csv"])
def test_a_ledger_with_a_special_file_loses_that_file_alone(
    make_ledger, monkeypatch: pytest.MonkeyPatch, capsys, name: str, put: Callable[..., None], told: str
) -> None:
    runs = make_ledger(sweep="good")
    runs = make_ledger()
    folder = runs.out / "kernel_size" if name == "cells.json" else runs.folder("xvolution", 3, 1)
    (folder / name).unlink(missing_ok=True)
    if name == "failure.json":
        (folder / "result.json").unlink()
    put(folder / name, monkeypatch)
    assert main(["summary", "--source", str(runs.out)]) == 0
    captured = capsys.readouterr()
    shown = " ".join((captured.out + captured.err).split())
    assert name in shown and told in shown and "good: " in shown
    assert shown.count(told) == 1 + (name in ("result.json", "failure.json")), "a sentence in each sweep of the cell"


@pytest.mark.parametrize(("put", "told"), KINDS)
def test_a_folder_of_run_files_with_a_special_file_loses_that_file_alone(
    make_ledger, start_run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, put: Callable[..., None], told: str
) -> None:
    runs = make_ledger()
    for cell in runs.cells:
        result = (runs.out / "cells" / cell["cell_id"] / "result.json").read_text()
        path = tmp_path / "copied" / cell["cell_id"] / "run.wandb"
        start_run(runs.sweep, cell).summary(result_json=result).exit(0).write(path)
    (tmp_path / "copied" / "usr").symlink_to("/usr")
    special = tmp_path / "copied" / "special.wandb"
    put(special, monkeypatch)
    found = Collection([tmp_path / "copied"])
    _, frame = found.load("kernel_size")
    assert (frame["state"] == "finished").all()
    losses = [loss.lower() for loss in found.losses]
    assert any("special.wandb" in loss and told in loss for loss in losses), losses
    assert any("/usr: not read" in loss and OUTSIDE in loss for loss in losses), losses
    assert len(losses) == 2


def test_a_link_within_the_folder_is_read(make_ledger) -> None:
    runs = make_ledger()
    folder = runs.folder("xvolution", 3, 1)
    (folder / "result.json").rename(runs.out / "moved.json")
    (folder / "result.json").symlink_to(runs.out / "moved.json")
    found = Collection([runs.out])
    assert (found.load("kernel_size")[1]["state"] == "finished").all() and found.losses == []


def test_a_source_of_special_files_alone_is_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.wandb")
    with pytest.raises(UserError, match="no sweep at"):
        Collection([tmp_path]).sweeps()
