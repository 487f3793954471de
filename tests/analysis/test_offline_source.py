"""A folder of W&B offline runs gives the same frame as the ledger, and reports what it cannot read."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.sources import offline
from analysis.sources.collection import Collection
from analysis.sources.offline import OfflineRuns
from analysis.sources.tree import Tree
from lightning_xvol.errors import UserError

SCORES = {"convolution": {1: [24.0, 25.0], 3: [70.0, 71.0]}, "xvolution": {1: [97.0, 98.0], 3: [98.0, 99.0]}}


@pytest.fixture
def copied(make_ledger, start_run, tmp_path: Path) -> tuple[Any, Path]:
    """A synthetic ledger, and a folder with a W&B run for each of its finished cells."""
    runs, folder = make_ledger(SCORES), tmp_path / "copied"
    for number, cell in enumerate(runs.cells):
        result = json.loads((runs.out / "cells" / cell["cell_id"] / "result.json").read_text())
        file = start_run(runs.sweep, cell, 1_700_000_000 + number).row(trainer__global_step=9, val_top1=50.0, epoch=0)
        file.summary(top1=1.0, result_json=json.dumps(result)).exit(0)
        file.write(folder / f"offline-run-{number}-{cell['cell_id']}" / f"run-{cell['cell_id']}.wandb")
    return runs, folder


def same(first: Collection, second: Collection, name: str = "kernel_size") -> pd.DataFrame:
    (ours, frame), (theirs, other) = first.load(name), second.load(name)
    assert ours == theirs
    pd.testing.assert_frame_equal(frame, other, check_exact=True)
    return frame


def test_a_folder_gives_the_frame_of_the_ledger_and_so_does_a_mix(copied) -> None:
    runs, folder = copied
    ledger = Collection([runs.out])
    same(ledger, Collection([folder]))
    # Half of the results are in the ledger alone, the other half in the folder alone.
    whole = runs.out.with_name("whole")
    shutil.copytree(runs.out, whole)
    for number, path in enumerate(sorted((runs.out / "cells").iterdir())):
        shutil.rmtree(path if number % 2 else next(folder.glob(f"*-{path.name}")))
    for names in ([runs.out, folder], [folder, runs.out]):
        same(Collection([whole]), Collection(names))


def test_a_complete_record_wins_whatever_clocks_say(copied, start_run) -> None:
    runs, folder = copied
    cell = runs.cells[0]
    [path] = folder.glob(f"*-{cell['cell_id']}/*.wandb")
    before = start_run(runs.sweep, cell, 1_600_000_000)
    before.row(trainer__global_step=0, val_top1=10.0, epoch=0).row(trainer__global_step=9, val_top1=40.0, epoch=0)
    before.write(folder / "earlier" / path.name)
    found = Collection([folder])
    assert found.curve(cell["cell_id"], "val_top1") == {1: (1, 10.0), 10: (1, 50.0)}  # the later segment's row
    same(Collection([runs.out]), found)
    # The clock of a killed segment ran ahead.
    start_run(runs.sweep, cell, 1_800_000_000).write(folder / "later" / path.name)
    same(Collection([runs.out]), Collection([folder]))


def test_failed_killed_and_interrupted_runs_keep_their_state(copied, start_run) -> None:
    runs, folder = copied
    cells = runs.cells[:3]
    for cell in cells:
        shutil.rmtree(next(folder.glob(f"*-{cell['cell_id']}")))
        (runs.out / "cells" / cell["cell_id"] / "result.json").unlink()
    (runs.out / "cells" / cells[0]["cell_id"] / "failure.json").write_text('{"error": "ValueError: bad", "step": 3}')
    files = [start_run(runs.sweep, cell) for cell in cells]
    files[0].summary(error="ValueError: bad").exit(1)
    files[1].exit(255)  # Ctrl-C
    for number, file in enumerate(files):
        file.write(folder / f"new-{number}" / "run.wandb")
    frame = same(Collection([runs.out]), Collection([folder]))
    assert frame["state"].tolist().count("failed") == 1
    assert frame["state"].tolist().count("missing") == 2


def test_links_and_folders_put_aside_count_once(copied) -> None:
    runs, folder = copied
    one = next(folder.iterdir())
    (folder / "latest-run").symlink_to(one)
    (folder / "loop").symlink_to(folder)
    shutil.copytree(one, folder / f"{runs.cells[0]['cell_id']}.old-1" / "wandb" / one.name)
    assert len(list(offline._logs(Tree(folder)))) == len(runs.cells)


def test_damaged_files_change_no_value(copied) -> None:
    """A record is unchanged, or it is missing and the file is named."""
    _, folder = copied
    _, whole = Collection([folder]).load("kernel_size")
    paths = sorted(folder.glob("*/*.wandb"))[1:]  # one keeps the plan
    contents = [path.read_bytes() for path in paths]
    survivors = 0
    for trial in range(10):
        for number, (path, content) in enumerate(zip(paths, contents, strict=True)):
            chance = random.Random(100 * trial + number)
            changed = bytearray(content)
            changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed[: chance.randrange(len(content))] if chance.random() < 0.3 else changed)
        found = Collection([folder])
        _, frame = found.load("kernel_size")
        kept = frame[frame["state"] == "finished"]
        assert len(found.losses) >= 8 - kept["cell_id"].nunique()
        expected = whole.merge(kept[["cell_id", "metric"]], on=["cell_id", "metric"])
        pd.testing.assert_frame_equal(kept.reset_index(drop=True), expected, check_exact=True)
        survivors += kept["cell_id"].nunique() - 1
    assert survivors >= 10


def test_three_hundred_damaged_files_give_nothing_wrong(make_ledger, start_run, tmp_path: Path) -> None:
    """No exception, no wrong result and no wrong point of a curve. Only the end of a file is missing without a note."""
    runs, random_ = make_ledger(SCORES), random.Random(0)
    results = {
        cell["cell_id"]: json.loads((runs.out / "cells" / cell["cell_id"] / "result.json").read_text())
        for cell in runs.cells
    }
    whole = {step + 1: (1 if step < 10 else 2, 1 / (step + 1)) for step in range(20)}
    kinds = ("cut", "flip", "flips")
    for number in range(300):
        cell = runs.cells[number % len(runs.cells)]
        file = start_run(runs.sweep, cell, 1_700_000_000 + number)
        for step in range(20):
            file.row(trainer__global_step=step, loss=1 / (step + 1), **{"padding" * 30: step})
        file.summary(top1=1.0, result_json=json.dumps(results[cell["cell_id"]])).exit(0)
        content = bytearray(file.content())
        if kinds[number % 3] == "cut":
            del content[random_.randrange(len(content)) :]
        for _ in range({"cut": 0, "flip": 1, "flips": 5}[kinds[number % 3]]):
            content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
        path = tmp_path / "damaged" / f"{number}" / "run.wandb"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        found = OfflineRuns(path.parent)
        outcome, curve = found.outcome(cell["cell_id"]), found.curve(cell["cell_id"], "loss")
        assert outcome is None or outcome.result in (None, results[cell["cell_id"]])
        assert curve.items() <= whole.items()
        complete = outcome is not None and outcome.result is not None and curve == whole
        assert complete or found.losses or kinds[number % 3] == "cut"
        assert kinds[number % 3] == "cut" or found.losses, "a flipped bit is always noticed"
    together = OfflineRuns(tmp_path / "damaged")
    assert len(together.losses) >= 200
    assert all(
        together.outcome(cell) is None or together.curve(cell, "loss").items() <= whole.items() for cell in results
    )


def test_files_of_other_projects_are_reported(copied, wandb_file, capsys) -> None:
    runs, folder = copied
    wandb_file().run("foreign", {"lr": 0.1}).row(loss=1.0).exit(0).write(folder / "foreign" / "run-foreign.wandb")
    (folder / "killed").mkdir()
    (folder / "killed" / "run-abc.wandb").write_bytes(b":W&B\xe1\xbe\x00")
    assert main(["tables", "--source", str(folder), "--out", str(runs.out)]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert [line.rpartition(": ")[2] for line in notes] == [
        "no run can be read from it", "it holds no run of this project",
    ]  # fmt: skip


def test_runs_without_a_sweep_are_refused(tmp_path: Path, wandb_file, start_run, make_ledger) -> None:
    with pytest.raises(UserError, match=r"neither a ledger .* nor W&B offline runs"):
        Collection([tmp_path])
    wandb_file().run("one", {"cell_id": "one", "sweep": "fit"}).write(tmp_path / "single" / "run.wandb")
    with pytest.raises(UserError, match="its runs belong to no sweep"):
        Collection([tmp_path / "single"]).sweeps()
    runs = make_ledger(SCORES)
    torn = start_run(runs.sweep | {"schema": 9}, runs.cells[0])
    torn.write(tmp_path / "torn" / "run.wandb")
    with pytest.raises(UserError, match="schema 9"):
        Collection([tmp_path / "torn"]).load("kernel_size")


def test_sweeps_of_one_name_that_differ_are_not_mixed(copied, tmp_path: Path) -> None:
    runs, folder = copied
    runs.sweep |= {"recipe": "digits_small", "budget": "8 epochs"}
    runs.write_sweep()
    with pytest.raises(UserError, match=r"'kernel_size' .* differ in recipe, budget; render them one by one"):
        Collection([folder, runs.out]).load("kernel_size")


def test_a_file_is_read_again_only_after_it_changed(copied, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs, folder = copied
    before = Collection([folder])
    read: list[Path] = []
    original = offline.read_segment
    monkeypatch.setattr(offline, "read_segment", lambda path: (read.append(path), original(path))[1])
    again = Collection([folder])
    same(before, again)
    cell = runs.cells[3]["cell_id"]
    assert again.curve(cell, "val_top1") == {10: (1, 50.0)} and read == []
    [path] = folder.glob(f"*-{cell}/*.wandb")
    path.write_bytes(path.read_bytes()[:-60])  # the exit and the end of the summary
    assert Collection([folder]).outcome(cell).result is None and read == [path]
    # A damaged or missing cache changes nothing.
    [store] = (tmp_path / "cache" / "lightning-xvol").glob("*.sqlite")
    store.write_bytes(b"not a database" * 1000)
    broken = Collection([folder])
    assert len(read) == 1 + len(runs.cells) and broken.curve(cell, "val_top1") == {10: (1, 50.0)}


def test_a_cache_that_cannot_be_written_is_in_memory(copied, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runs, folder = copied
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    same(Collection([runs.out]), Collection([folder]))


def test_the_command_line_takes_several_sources(copied, tmp_path: Path, capsys) -> None:
    runs, folder = copied
    assert main(["tables", "--source", str(folder), "--source", str(runs.out), "--out", str(tmp_path / "paper")]) == 0
    assert "98.0, 99.0" in capsys.readouterr().out
    assert (tmp_path / "paper" / "kernel_size" / "table.tex").exists()


@pytest.mark.parametrize("change", [
    "UPDATE runs SET content = '{'", "UPDATE runs SET content = '[]'", "UPDATE runs SET content = '{\"x\": 1}'",
    "UPDATE runs SET content = replace(content, '9', '8')", "UPDATE runs SET content = NULL", "DELETE FROM texts",
    "UPDATE texts SET text = replace(text, 'xvolution', 'pssa')", "UPDATE texts SET text = x'ff00'",
    "UPDATE curves SET steps = x'ff'", "UPDATE curves SET readings = zeroblob(length(readings))",
    "UPDATE curves SET name = 'other'", "UPDATE runs SET content = (SELECT max(content) FROM runs)",
])  # fmt: skip
def test_a_damaged_row_of_the_cache_is_dropped_and_read_again(copied, tmp_path: Path, change: str) -> None:
    runs, folder = copied
    cells = [cell["cell_id"] for cell in runs.cells]

    def read() -> tuple[pd.DataFrame, list[dict]]:
        found = Collection([folder])
        return found.load("kernel_size")[1], [found.curve(cell, "val_top1") for cell in cells]

    frame, curves = read()
    [store] = (tmp_path / "cache" / "lightning-xvol").glob("*.sqlite")
    with sqlite3.connect(store) as disk:
        assert disk.execute(change).rowcount > 0
    disk.close()
    for _ in range(2):  # again from the cache, whose rows are whole now
        again, curves_again = read()
        pd.testing.assert_frame_equal(again, frame)
        assert curves_again == curves
