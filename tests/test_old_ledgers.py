"""Ledgers that a former version wrote are read, resumed and rendered by this one.

`fixtures/old_ledgers.zip` was made at commit b76e077, before the files moved into their rooms. `kernel_size` is the
ledger of `make demo`, `operator` and `detection` are smoke sweeps, and `cut` holds one cell that was killed after its
checkpoint of step 15. `whole` is the same cell, undisturbed. Checkpoints of finished cells and W&B files are left out.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FIXTURE = Path(__file__).parent / "fixtures" / "old_ledgers.zip"
PROBES = ("mean_ablated", "q_shuffled")
CUT = "19c41fda632b"
OF_THE_CUT_CELL = [
    *("--smoke", "--seeds", "1", "--only", "operator=xvolution", "--only", "kernel_size=3", "--wandb", "disabled"),
    *("--set", "backbone.options.widths=4,4,8,8", "--set", "backbone.options.stem_width=4"),
    *("--set", "train.steps=40", "--set", "train.checkpoint_every=5"),
]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The old ledgers, unpacked."""
    zipfile.ZipFile(FIXTURE).extractall(tmp_path / "old")
    return tmp_path / "old"


def run(*arguments: str | Path) -> str:
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def record(folder: Path) -> dict:
    return json.loads((folder / "cells" / CUT / "result.json").read_text())


@pytest.mark.parametrize(
    ("ledger", "sweep"), [("kernel_size", "kernel_size"), ("operator", "operator"), ("detection", "operator")]
)
def test_an_old_ledger_renders_to_the_same_numbers(old: Path, tmp_path: Path, ledger: str, sweep: str) -> None:
    """All but intervals and p: their method is another one, and one run has no difference."""
    run("analysis", "tables", "--source", old / ledger, "--out", tmp_path / "new")
    before, now = (lines(folder / sweep / "table.csv") for folder in (old / ledger, tmp_path / "new"))
    assert before.keys() <= now.keys()
    for key, line in before.items():
        for column in line.keys() - {"ci_low", "ci_high", "delta", "delta_low", "delta_high", "delta_p"}:
            probe = next((probe for probe in PROBES if column.startswith(probe)), None)
            if probe is None:
                assert same(now[key][column], line[column]), (key, column)
            elif line[column] not in ("", "0"):  # formerly columns, now a row with the metric's name and the probe's
                kind = column.removeprefix(probe).removeprefix("_") or "mean"
                assert same(now[*key[:2], f"{key[2]}_{probe}"][kind], line[column]), (key, column)
        delta = now[key]["delta"]
        assert (delta == "") == (int(line["n"]) < 2 or line["delta"] == "")
        assert delta == "" or float(delta) == pytest.approx(float(line["delta"]), abs=1e-9)


def same(text: str, before: str) -> bool:
    """Sums are exact now, which may change the last bit of a mean."""
    return text == before or float(text) == pytest.approx(float(before), rel=1e-12)


def lines(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """The lines of `table.csv` by row, column and metric."""
    found = list(csv.DictReader(path.read_text().splitlines()))
    return {(line["operator"], line.get("kernel_size", ""), line["metric"]): line for line in found}


@pytest.mark.parametrize(
    ("ledger", "command"),
    [
        ("kernel_size", ["ablations.kernel_size", "--seeds", "2"]),
        ("operator", ["ablations.operator", "--smoke"]),
        ("detection", ["ablations.operator", "--smoke", "--recipe", "shapes_faster_rcnn"]),
    ],
)
def test_every_cell_of_an_old_ledger_counts_as_done(old: Path, ledger: str, command: list[str]) -> None:
    cells = {folder.name for folder in (old / ledger / "cells").iterdir()}
    listed = run(*command, "--out", old / ledger, "--dry-run")
    assert dict(re.findall(r"^(\w{12})  +(\w+)", listed, re.M)) == dict.fromkeys(cells, "done")


def test_a_cell_that_was_killed_under_the_old_version_ends_bit_equal_under_this_one(old: Path) -> None:
    run("ablations.kernel_size", *OF_THE_CUT_CELL, "--out", old / "cut")
    resumed, whole = record(old / "cut"), record(old / "whole")
    assert resumed["cell_id"] == whole["cell_id"]
    assert [segment["start_step"] for segment in resumed["segments"]] == [0, 15]
    same = ("device", "numpy", "platform", "torch", "torchvision")
    if any(resumed["environment"][name] != whole["environment"][name] for name in same):
        pytest.skip("the old steps were computed on another processor or by other versions: no equal bits there")
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed["metrics"] == whole["metrics"]
