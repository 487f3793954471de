"""Two folders of data with one ledger: in every order, and after a kill, their runs are never mixed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
import pytest

import ablations
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError

CLASSES = {"a": 2, "b": 3}
SETTINGS = {
    "data.name": "imagenet", "data.image_size": 16, "data.batch_size": 8, "train.steps": 2, "backbone.stem_width": 4,
    "backbone.widths": "4,4,8,8", "backbone.blocks": "1,1,1,1", "train.checkpoint_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folders")
    random = numpy.random.default_rng(0)
    for name, classes in CLASSES.items():
        for split, label, number in itertools.product(("train", "val"), range(classes), range(6)):
            path = root / name / split / f"class {label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(random.integers(0, 255, (20, 20, 3), dtype=numpy.uint8)).save(path)
    return root


def options(data: Path, out: Path, kernel_size: int = 1, **changes: Any) -> dict[str, Any]:
    only = {"kernel_size": kernel_size, "operator": "convolution"}
    return {
        "smoke": True, "seeds": 1, "only": only, "wandb": "disabled", "settings": SETTINGS, "data_dir": data,
        "out": out, **changes,
    }  # fmt: skip


def run(data: Path, out: Path, kernel_size: int = 1, **changes: Any) -> dict[str, int]:
    return dict(ablations.run("kernel_size", **options(data, out, kernel_size, **changes)).counts)


def classes_of(out: Path) -> list[int]:
    return [json.loads(path.read_text())["data"]["classes"] for path in sorted(out.glob("cells/*/result.json"))]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_the_second_folder_is_refused_whatever_its_cells(order: str, folders: Path, tmp_path: Path) -> None:
    first, second = (folders / name for name in order)
    assert run(first, tmp_path) == {"done": 1}
    table = (tmp_path / "kernel_size" / "table.csv").read_bytes()
    for size in (1, 3):  # the cell that is done, and another one of its table
        with pytest.raises(UserError) as caught:
            run(second, tmp_path, size)
        for name in order:
            assert f"with {CLASSES[name]} classes, {6 * CLASSES[name]} + {6 * CLASSES[name]} images" in str(
                caught.value
            )
    assert classes_of(tmp_path) == [CLASSES[order[0]]]
    assert (tmp_path / "kernel_size" / "table.csv").read_bytes() == table
    assert run(first, tmp_path) == {"done": 1}
    assert run(second, tmp_path, force=True) == {"done": 1}, "--force takes the new data and keeps the old run aside"
    assert f"{CLASSES[order[1]]} classes, " in (tmp_path / "kernel_size" / "table.md").read_text()


def test_a_finished_run_stays_done_without_its_data(folders: Path, tmp_path: Path) -> None:
    assert run(folders / "a", tmp_path) == {"done": 1}
    assert run(folders / "nowhere", tmp_path) == {"done": 1}


def test_a_record_from_before_the_digest_counts_as_done(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folders / "a", tmp_path) == {"done": 1}
    [path] = tmp_path.glob("cells/*/result.json")
    old = json.loads(path.read_text())
    del old["data"]
    path.write_text(json.dumps(old))
    capsys.readouterr()
    assert run(folders / "b", tmp_path) == {"done": 1}
    printed = capsys.readouterr().out
    assert "1 finished run is older than the digest of data" in printed
    assert "1 done, 0 to run" in printed


def test_a_killed_run_does_not_go_on_with_other_data(folders: Path, tmp_path: Path) -> None:
    given = options(folders / "a", tmp_path)
    given["settings"] = {**SETTINGS, "train.steps": 5000}
    flags = [part for path, value in given["settings"].items() for part in ("--set", f"{path}={value}")]
    flags += ["--only", "kernel_size=1", "--only", "operator=convolution", "--data-dir", os.fspath(folders / "a")]
    command = [sys.executable, "-m", "ablations.kernel_size", "--smoke", "--seeds", "1", "--wandb", "disabled", *flags]
    process = subprocess.Popen([*command, "--out", os.fspath(tmp_path)], stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob("cells/*/checkpoints/step=*.ckpt")):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"}
    with pytest.raises(UserError, match=r"with 2 classes, .* with 3 classes"):
        ablations.run("kernel_size", **{**given, "data_dir": folders / "b"})
    with pytest.raises(UserError, match=r"with 2 classes, .* with 3 classes"):
        ablations.run("kernel_size", **{**given, "data_dir": folders / "b"}, jobs=2)
    assert {path: path.read_bytes() for path in before} == before


def test_a_table_of_two_data_sets_is_refused(folders: Path, tmp_path: Path) -> None:
    """Two commands that began at the same moment did not see each other's runs."""
    run(folders / "a", tmp_path / "one")
    run(folders / "b", tmp_path / "two", 3)
    for path in (tmp_path / "two" / "cells").iterdir():
        path.rename(tmp_path / "one" / "cells" / path.name)
    with pytest.raises(UserError, match=r"'kernel_size' mixes data: cell \w+ was made on .* 2 classes.* 3 classes"):
        Collection([tmp_path / "one"]).load("kernel_size")


def test_a_folder_of_the_users_own_is_called_by_the_users_word(folders: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "data.name": "folder", "data.label": "flowers"}
    assert run(folders / "b" / "train", tmp_path, settings=settings) == {"done": 1}
    assert "Data: flowers;" in (tmp_path / "kernel_size" / "table.md").read_text()
