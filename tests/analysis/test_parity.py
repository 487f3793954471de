"""One trained and tracked sweep from every source: a ledger, copied offline runs, a W&B server, and a mix."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
import pytest

from analysis.output.sweep import render
from analysis.sources.collection import Collection as Sources

pytest.importorskip("wandb")

SMALL = {"backbone.widths": "4,4,8,8", "backbone.stem_width": "4", "train.steps": "6"}
SMALL |= {f"data.{split}_size": "40" for split in ("train", "validation", "test")}
ARGUMENTS = ["--smoke", "--seeds", "1", "--only", "kernel_size=1,3", "--only", "operator=convolution"]
ARGUMENTS += [word for item in SMALL.items() for word in ("--set", "=".join(item))]


def begun(frame: pd.DataFrame, cells: Collection[str]) -> pd.DataFrame:
    """`frame` without the ids of cells that never began: only a ledger knows them."""
    return frame.assign(cell_id=frame["cell_id"].where(frame["cell_id"].isin(cells)))


def rendered(names: Sequence[str | Path], folder: Path) -> dict[str, bytes]:
    """The bytes of the table in each format, and of the figure."""
    render(Sources(names), "kernel_size", folder)
    return {path.name: path.read_bytes() for path in folder.glob("kernel_size/*.*")}


def test_every_source_gives_the_same_frame(wandb_server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame and curves equal those of the ledger to the last bit."""
    from ablations.engine.cli import command
    from ablations.kernel_size import SWEEP

    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out, copied, half = tmp_path / "runs", tmp_path / "copied", tmp_path / "half"
    assert command(SWEEP, [*ARGUMENTS, "--out", str(out)]) == 0
    for folder in (out / "cells").glob("*/wandb"):
        shutil.copytree(folder, copied / folder.parent.name, symlinks=True)
    paths = sorted(map(str, copied.glob("*/offline-run-*")))
    assert len(paths) >= 2
    # The server has all runs, or only those that the folder of the mix lacks.
    sync = [sys.executable, "-m", "wandb", "sync", "--yes"]
    subprocess.run([*sync, "--project", "all", *paths], check=True, timeout=240)
    subprocess.run([*sync, "--no-skip-synced", "--project", "rest", *paths[1:]], check=True, timeout=240)
    shutil.copytree(Path(paths[0]).parent, half, symlinks=True)
    ledger = Sources([out])
    sweep, frame = ledger.load("kernel_size")
    others = ([copied], ["wandb:tester/all"], [half, "wandb:tester/rest"], ["wandb:rest", half])
    cells = frame.loc[frame["state"] == "finished", "cell_id"].unique()
    assert len(cells) == len(paths)
    for names in others:
        found = Sources(names)
        assert found.losses == []
        other_sweep, other = found.load("kernel_size")
        assert other_sweep == sweep
        pd.testing.assert_frame_equal(begun(frame, cells), begun(other, cells), check_exact=True)
        assert rendered(names, tmp_path / "other") == rendered([out], tmp_path / "own")
        for cell, name in itertools.product(cells, ("train_loss", "lr", "val_top1", "top1")):
            assert ledger.curve(cell, name) == found.curve(cell, name)
    assert list(ledger.curve(cells[0], "val_top1")) == [1, 2, 3, 4, 5, 6]
