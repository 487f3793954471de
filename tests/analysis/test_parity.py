"""One trained and tracked sweep from every source: a ledger, copied offline runs, a W&B server, and a mix."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.sources.collection import Collection

pytest.importorskip("wandb")

SMALL = {"backbone.widths": "4,4,8,8", "backbone.stem_width": "4", "train.steps": "6"}
SMALL |= {f"data.{split}_size": "40" for split in ("train", "validation", "test")}
ARGUMENTS = ["--smoke", "--seeds", "1", "--only", "kernel_size=1,3", "--only", "operator=convolution"]
ARGUMENTS += [word for item in SMALL.items() for word in ("--set", "=".join(item))]


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
    ledger = Collection([out])
    sweep, frame = ledger.load("kernel_size")
    others = ([copied], ["wandb:tester/all"], [half, "wandb:tester/rest"], ["wandb:rest", half])
    cells = frame.loc[frame["state"] == "finished", "cell_id"].unique()
    assert len(cells) == len(paths)
    for names in others:
        found = Collection(names)
        assert found.losses == []
        other_sweep, other = found.load("kernel_size")
        assert other_sweep == sweep
        pd.testing.assert_frame_equal(frame, other, check_exact=True)
        for cell, name in itertools.product(cells, ("train_loss", "lr", "val_top1", "top1")):
            assert ledger.curve(cell, name) == found.curve(cell, name)
    assert list(ledger.curve(cells[0], "val_top1")) == [1, 2, 3, 4, 5, 6]
