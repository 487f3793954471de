"""A ledger that is restored from an archive is the one that the archive was written from, as far as an archive goes."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ablations import kernel_size, run
from ablations.engine.cells import make_cells
from ablations.engine.plan import describe_cells
from analysis.__main__ import main
from analysis.sources import restore as restoring
from analysis.sources.ledger import Ledger
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.schema import to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import contents, files
from lightning_xvol.ledger.spellings import as_recorded

SIZES, SEEDS = (1, 3), 2
LOST, DIVERGED = 3, 5  # their places among the cells


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """The ledger of a sweep with real configurations and invented results; one cell is lost, one has diverged."""
    out, recipe = tmp_path / "runs", get_recipe("match_small")
    cells = [cell for cell in make_cells(kernel_size.SWEEP, recipe, SEEDS) if cell.axes["kernel_size"] in SIZES]
    for number, cell in enumerate(cells):
        folder = files.make_folder(cell.folder(out))
        values = {"last": 50.0 + number, "best": 51.0 + number, "best_epoch": 1}
        result: dict[str, Any] = {
            "schema": 1, "cell_id": cell.id, "group_id": cell.group, "seed": cell.config.seed,
            "config": to_dict(cell.config), "metrics": {"top1": values, "val_top1": values}, "params": 1000 + number,
            "macs": 9, "wall_seconds": 9.5, "segments": [], "weights_sha256": "0" * 64, "commit": "0" * 40,
            "environment": {"torch": "2.15.0", "device": "cpu"}, "status": "finished",
            "data": contents.generated(cell.config.data), "optimisation_id": cell.config.optimisation_id,
        }  # fmt: skip
        if number == DIVERGED:
            result |= {"status": "diverged", "metrics": {}}
        rows = [f"{93 * epoch},{epoch},val_top1,{40.25 + epoch}" for epoch in (1, 2)]
        rows += [f"186,2,top1,{values['last']}", "186,2,val_loss,nan", "10,0,train_loss,0.5"]
        (folder / "metrics.csv").write_text("\n".join(["step,epoch,name,value", *rows]) + "\n")
        if number != LOST:
            files.write_json(folder / "result.json", result)
    files.make_folder(out / "kernel_size")
    files.write_json(out / "kernel_size" / "cells.json", describe_cells(kernel_size.SWEEP, recipe, cells, False))
    return out


def archived(ledger: Path, name: str = "archive") -> Path:
    path = ledger.parent / f"{name}.jsonl.gz"
    assert main(["archive", "--source", str(ledger), "--out", str(path)]) == 0
    return path


def restored(archive: Path, name: str = "restored", code: int = 0) -> Path:
    out = archive.parent / name
    assert main(["restore", "--source", str(archive), "--out", str(out)]) == code
    return out


def lines_of(archive: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(archive.read_bytes()).splitlines()]


def changed(archive: Path, lines: list[Any]) -> Path:
    path = archive.with_name("changed.jsonl.gz")
    path.write_bytes(gzip.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode()))
    return path


def tree(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def test_archive_restore_archive_is_equal_to_the_byte(ledger: Path) -> None:
    archive = archived(ledger)
    again = restored(archive)
    assert archived(again, "again").read_bytes() == archive.read_bytes()
    plan = Path("kernel_size") / "cells.json"
    assert (again / plan).read_bytes() == (ledger / plan).read_bytes()
    before = tree(again)
    assert restored(archive) == again and tree(again) == before, "a second time there is nothing to do"


def test_records_of_older_versions_are_restored_under_their_ids(tmp_path: Path) -> None:
    zipfile.ZipFile(Path(__file__).parent.parent / "fixtures" / "old_ledgers.zip").extractall(tmp_path)
    for name in ("kernel_size", "detection"):
        archive = archived(tmp_path / name, f"{name}-archive")
        again = restored(archive, f"{name}-restored")
        assert archived(again, f"{name}-again").read_bytes() == archive.read_bytes()


def test_a_sweep_goes_on_from_a_restored_ledger(ledger: Path, monkeypatch) -> None:
    """It has nothing to run where the first ledger has nothing to run, and its table is the same to the byte."""
    finished = {"kernel_size": [1]}
    options: dict[str, Any] = {"seeds": SEEDS, "only": finished, "wandb": "disabled"}
    run("kernel_size", out=ledger, **options)
    again = restored(archived(ledger))
    cells = tree(again / "cells")
    report = run("kernel_size", out=again, **options)
    assert report.exit_code == 0 and tree(again / "cells") == cells
    for name in ("table.md", "table.tex", "table.csv"):
        assert (again / "kernel_size" / name).read_bytes() == (ledger / "kernel_size" / name).read_bytes(), name
    states = run("kernel_size", out=again, seeds=SEEDS, dry_run=True).counts
    assert states == {"done": 10, "diverged": 1, "missing": 19}


def test_what_is_there_stays(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = archived(ledger)
    first, second, *others = [line["record"]["cell_id"] for line in lines_of(archive)]
    out = ledger.parent / "restored"
    for folder in (out / "cells" / first / "checkpoints", out / "kernel_size"):
        folder.mkdir(parents=True)
    (out / "cells" / first / "failure.json").write_text("{}")
    (out / "cells" / second).symlink_to("../kernel_size")
    (out / "kernel_size" / "cells.json").write_text("another plan")
    before = tree(out)
    restored(archive)
    after = tree(out)
    assert {path: after[path] for path in before} == before
    assert {path.name for path in (out / "cells").iterdir()} == {first, second, *others}
    told = capsys.readouterr().out
    assert f"{len(others)} new cells, 2 existing cells" in told
    assert "kernel_size: the folder of the sweep stays as it is" in told


@pytest.mark.parametrize("place", ["kernel_size", "cells/{}"])
@pytest.mark.parametrize("is_link", [False, True], ids=["file", "dangling link"])
def test_what_is_in_the_place_of_a_folder_is_refused_before_anything_is_written(ledger, place, is_link) -> None:
    archive = archived(ledger)
    path = ledger.parent / "restored" / place.format(lines_of(archive)[-1]["record"]["cell_id"])
    path.parent.mkdir(parents=True)
    path.symlink_to("nowhere") if is_link else path.write_text("a file")
    before = tree(ledger.parent / "restored")
    with pytest.raises(UserError, match=rf"'{path}' is no folder.*move it away"):
        restored(archive)
    assert tree(ledger.parent / "restored") == before


def test_another_result_in_the_ledger_stays_and_is_named(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = archived(ledger)
    before = tree(restored(archive))
    line, *others = [line for line in lines_of(archive) if line["record"]["metrics"]]
    line["record"]["metrics"]["top1"]["last"] = 12.5
    for other in others:  # another run of the same may take another time
        other["record"] |= {"wall_seconds": 77.0, "commit": "f" * 40}
    out = restored(changed(archive, [line, *others]), code=1)
    assert tree(out) == before
    told = capsys.readouterr().err
    assert re.search(rf"{out}/cells/.*changed.jsonl.gz.*{line['record']['cell_id']} \(last top1 5\d.0 and 12.5\)", told)
    assert told.count("two different results") == 1


def test_what_a_killed_process_leaves_is_no_sweep(ledger: Path) -> None:
    out = restored(archived(ledger))
    shutil.copytree(out / "kernel_size", out / ".restore-0123456789abcdef.tmp")
    whole = (out / "kernel_size").rename(ledger.parent / "elsewhere")
    with pytest.raises(UserError, match="no runs at"):
        main(["tables", "--source", str(out)])
    whole.rename(out / "kernel_size")
    assert [plan.where for plan in Ledger(out).plans()] == [str(out / "kernel_size" / "cells.json")]


def hostile(line: dict[str, Any], **record: Any) -> dict[str, Any]:
    return {**line, "record": {**line["record"], **record}}


def test_a_record_is_restored_under_the_id_of_its_configuration_alone(ledger: Path, capsys) -> None:
    archive = archived(ledger)
    first, second, third, fourth, *others = lines_of(archive)
    own = first["record"]["cell_id"]
    bad = [
        hostile(first, config=second["record"]["config"]),
        hostile(second, seed=second["record"]["seed"] + 7),
        hostile(third, config={**third["record"]["config"], "operator": {"name": "unheard", "options": {}}}),
        hostile(fourth, config=None),
    ]
    out = restored(changed(archive, [*bad, *others]), code=1)
    assert {path.name for path in (out / "cells").iterdir()} == {line["record"]["cell_id"] for line in others}
    told = capsys.readouterr().err
    assert f"cell {own}: its cell_id is {own!r}, and its configuration gives" in told
    assert "unheard" in told


def test_an_id_leads_nowhere_else(ledger: Path) -> None:
    line, *others = lines_of(archived(ledger))
    with pytest.raises(UserError, match=r"cell_id='../../escaped' \(expected letters"):
        restored(changed(ledger.parent / "archive.jsonl.gz", [hostile(line, cell_id="../../escaped"), *others]))
    assert not (ledger.parent / "restored").exists()


@pytest.mark.parametrize("name", ["..", "../up", "a/b", "/tmp/x", "", ".", "cells", ".hidden"])
def test_the_name_of_a_sweep_leads_nowhere_else(ledger: Path, name: str) -> None:
    lines = lines_of(archived(ledger))
    for line in lines:
        for sweep in line["sweeps"]:
            sweep["plan"]["sweep"] = name
    others = tree(ledger)
    out = restored(changed(ledger.parent / "archive.jsonl.gz", lines), "deep/down/restored", code=1)
    assert {path.name for path in out.iterdir()} == {"cells"} and len(list((out / "cells").iterdir())) == len(lines)
    assert tree(ledger) == others and not (out / "cells" / "cells.json").exists()
    assert {path.name for path in ledger.parent.iterdir()} == {
        "runs", "deep", "archive.jsonl.gz", "changed.jsonl.gz"
    }  # fmt: skip


def test_a_class_that_a_record_names_is_not_imported(ledger: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "restored_evil.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    archive = archived(ledger)
    line, *_ = lines_of(archive)
    config = {**line["record"]["config"], "operator": {"name": "restored_evil:Operator", "options": {"a": 1}}}
    own = as_recorded({"config": config})
    for sweep in line["sweeps"]:
        sweep["missing"] = []
    line = hostile(line, config=config, cell_id=own.cell_id, group_id=own.group_id)
    out = restored(changed(archive, [line]))
    assert [path.name for path in (out / "cells").iterdir()] == [own.cell_id]
    assert "restored_evil" not in sys.modules
    with pytest.raises(UserError, match="--trust"):
        run("kernel_size", out=out, cell=own.cell_id, force=True, wandb="disabled")


def test_texts_of_a_record_add_no_lines_to_its_curves(ledger: Path) -> None:
    archive = archived(ledger)
    line, *_ = lines_of(archive)
    trap = "loss\n93,1,top1,99.0"
    line["curves"] |= {trap: [[93, 1, 5.0], [-93, 1, 5.0]], "top1": [[93, 1, 1e9], [94, 1, 3.0], [-5, 1, 3.0]]}
    line["record"]["metrics"][trap] = {"last": 5.0, "best": 5.0, "best_epoch": 1}
    first = changed(archive, [line])
    again = lines_of(archived(restored(first), "again"))
    assert again[0]["curves"]["top1"] == [[94, 1, 3.0]]
    assert again[0]["curves"][trap] == lines_of(first)[0]["curves"][trap][:1]


def test_any_value_in_a_configuration_is_taken_or_refused_in_one_sentence(ledger: Path) -> None:
    line, *_ = lines_of(archived(ledger))
    for junk in (None, 3, -1, 1e400, "x", [], {}, [[]], 10**30):
        for section, values in line["record"]["config"].items():
            for key in [None, *(values if isinstance(values, dict) else ())]:
                record = json.loads(json.dumps(line["record"]))
                inner, last = (record["config"], section) if key is None else (record["config"][section], key)
                inner[last] = junk
                told = restoring._foreign(record)
                assert "\n" not in told
                assert (
                    told or junk == {} or (section, key) not in {("optim", "lr"), ("data", "name"), ("operator", None)}
                )


def test_an_error_leaves_no_half_of_a_cell(ledger: Path, monkeypatch) -> None:
    archive = archived(ledger)
    whole = tree(restored(archive, "whole"))
    write, left = files.write_bytes, 7

    def full_disk(path: Path, content: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(files, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        restored(archive)
    out = archive.parent / "restored"
    assert [path.name for path in out.iterdir()] == ["cells"]
    assert all(len(list(path.iterdir())) == 3 for path in (out / "cells").iterdir())
    assert len(list((out / "cells").iterdir())) == 2
    monkeypatch.undo()
    assert tree(restored(archive)) == whole


def test_another_process_may_be_faster(ledger: Path, monkeypatch) -> None:
    archive = archived(ledger)
    [*_, last] = [line["record"]["cell_id"] for line in lines_of(archive)]
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if target.name == last:
            shutil.copytree(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    out = restored(archive)
    assert len(list((out / "cells").iterdir())) == len(lines_of(archive)) and not list(out.glob(".restore-*"))


def test_only_archives_are_restored(ledger: Path) -> None:
    with pytest.raises(UserError, match="is no archive"):
        main(["restore", "--source", str(ledger), "--out", str(ledger.parent / "x")])
    with pytest.raises(UserError, match="no such folder"):
        main(["restore", "--source", "none.jsonl.gz", "--out", str(ledger.parent / "x")])
    with pytest.raises(UserError, match="--source is missing"):
        main(["restore", "--out", str(ledger.parent / "x")])
    assert not (ledger.parent / "x").exists()


def test_a_damaged_archive_is_told_by_the_exit_code(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = archived(ledger)
    damaged = archive.with_name("damaged.jsonl.gz")
    lines = gzip.decompress(archive.read_bytes()).splitlines(keepends=True)
    damaged.write_bytes(gzip.compress(b"".join([*lines[:3], b"no cell\n"])))
    out = restored(damaged, "some", code=1)
    assert len(list((out / "cells").iterdir())) == 3 and "line 4 is not a finished cell" in capsys.readouterr().err
    line, *others = lines_of(archive)
    restored(changed(archive, [hostile(line, params=-1), *others]), "others", code=1)
    assert "line 1 has missing or unfit values: params=-1" in capsys.readouterr().err
    for content in (b"", archive.read_bytes()[:5]):
        damaged.write_bytes(content)
        with pytest.raises(UserError, match=r"no finished cell can be read in .*, so nothing is restored"):
            main(["restore", "--source", str(damaged), "--out", str(ledger.parent / "none")])
        assert not (ledger.parent / "none").exists()
