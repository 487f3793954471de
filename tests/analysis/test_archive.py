"""An archive gives what the ledger gives that it was written from, and names no machine and no folder."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import shutil
import socket
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.__main__ import main
from analysis.sources.archive import Archive, public
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError

AXES = {"axes": ["kernel_size"]}


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def write_lines(path: Path, lines: list[dict]) -> None:
    path.write_bytes(gzip.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode()))


@pytest.fixture
def ledger(make_ledger):
    """A ledger with curves, of which one cell has diverged; the order of rows and cells is not that of the ids."""
    ledger = make_ledger()
    ledger.write_curves()
    ledger.diverge("xvolution", 9, 2)
    path = ledger.folder("xvolution", 9, 2) / "metrics.csv"
    path.write_text(path.read_text() + "3,3,val_top1,nan\n4,4,val_top1,inf\n5,4,train_loss,0.5\n")
    return ledger


@pytest.fixture
def archive(ledger, tmp_path):
    path = tmp_path / "results" / "match_small.jsonl.gz"
    assert main(["archive", "--source", str(ledger.out), "--out", str(path)]) == 0
    return path


def same(one: Collection, other: Collection) -> None:
    for name in one.sweeps():
        (sweep, frame), (other_sweep, other_frame) = one.load(name), other.load(name)
        assert sweep == other_sweep
        pd.testing.assert_frame_equal(frame, other_frame, check_exact=True)
        pd.testing.assert_frame_equal(
            one.epochs(sweep, frame), other.epochs(other_sweep, other_frame), check_exact=True
        )
        for cell in frame.loc[frame["state"] != "missing", "cell_id"].unique():
            assert repr(one.curve(cell, "val_top1")) == repr(other.curve(cell, "val_top1"))
        tables = [analysis.load_sweep(source, name) for source in (one, other)]
        for form in ("markdown", "latex", "csv", "text"):
            assert analysis.render_table(tables[0], form) == analysis.render_table(tables[1], form)


def test_frames_curves_and_tables_are_those_of_the_ledger(ledger, archive) -> None:
    same(Collection([ledger.out]), Collection([archive]))


def test_a_ledger_and_its_archive_together_are_the_ledger(ledger, archive) -> None:
    both = Collection([archive, ledger.out])
    assert both.sweeps() == ["kernel_size"]
    same(Collection([ledger.out]), both)


def test_a_line_per_finished_cell_in_the_order_of_the_ids(ledger, archive, capsys) -> None:
    ids = [line["record"]["cell_id"] for line in lines_of(archive)]
    assert ids == sorted(cell["cell_id"] for cell in ledger.cells)
    ledger.lose("convolution", 1, 0)
    smaller = archive.with_name("smaller.jsonl.gz")
    assert main(["archive", "--source", str(ledger.out), "--out", str(smaller)]) == 0
    assert len(lines_of(smaller)) == len(ids) - 1
    same(Collection([ledger.out]), Collection([smaller]))
    same(Collection([archive]), Collection([smaller, archive]))
    assert "note: 1 planned cells have no result" in capsys.readouterr().out


def test_bytes_are_equal_whatever_the_source_the_place_and_the_time(ledger, archive, tmp_path, monkeypatch) -> None:
    moved = tmp_path / "elsewhere" / "ledger"
    shutil.copytree(ledger.out, moved)
    monkeypatch.setattr("time.time", lambda: 1e9)
    for source in (ledger.out, moved, archive):
        path = tmp_path / f"again-{source.name.partition('.')[0]}.jsonl.gz"
        assert main(["archive", "--source", str(source), "--out", str(path)]) == 0
        assert path.read_bytes() == archive.read_bytes()
    plain = tmp_path / "plain.jsonl"
    assert main(["archive", "--source", str(archive), "--out", str(plain)]) == 0
    assert plain.read_bytes() == gzip.decompress(archive.read_bytes())
    same(Collection([ledger.out]), Collection([plain]))


def test_joined_archives_are_one(ledger, archive, tmp_path) -> None:
    lines = gzip.decompress(archive.read_bytes()).splitlines(keepends=True)
    joined = tmp_path / "joined.jsonl.gz"
    joined.write_bytes(gzip.compress(b"".join(lines[20:])) + gzip.compress(b"".join(lines[:25])))
    same(Collection([ledger.out]), Collection([joined]))


def test_a_cell_with_several_lines_has_the_places_and_the_longest_curves_of_all(ledger, archive, tmp_path) -> None:
    other = json.loads((ledger.out / "kernel_size" / "cells.json").read_text())
    (ledger.out / "stage").mkdir()
    (ledger.out / "stage" / "cells.json").write_text(json.dumps({**other, "sweep": "stage"}))
    ledger.lose("xvolution", 3, 0)
    both, first, second = (tmp_path / f"{name}.jsonl.gz" for name in ("both", "first", "second"))
    assert main(["archive", "--source", str(ledger.out), "--out", str(both)]) == 0
    lines = lines_of(both)
    for name, path in (("kernel_size", first), ("stage", second)):
        kept = [
            {**line, "sweeps": [sweep for sweep in line["sweeps"] if sweep["plan"]["sweep"] == name]} for line in lines
        ]
        for line in kept if path == first else ():
            line["curves"] = {key: points[:1] for key, points in line["curves"].items()}
        write_lines(path, kept)
    joined = tmp_path / "joined.jsonl.gz"
    joined.write_bytes(first.read_bytes() + second.read_bytes() + first.read_bytes())
    same(Collection([both]), Collection([joined]))
    same(Collection([both]), Collection([first, second]))
    assert Collection([joined]).losses == []


def test_what_is_left_out_is_named_and_told_by_the_exit_code(archive, tmp_path, capsys) -> None:
    path, lines = tmp_path / "a.jsonl.gz", lines_of(archive)
    for number, line in enumerate(lines):
        [sweep] = line["sweeps"]
        line["sweeps"].append({**sweep, "plan": {**sweep["plan"], "sweep": "newer", "schema": 2}})
        if number:
            line["sweeps"].append({**sweep, "plan": {**sweep["plan"], "sweep": "mixed"}})
    lines[1]["record"]["config"] = {"train": {"epochs": 9, "steps": None}}
    lines[1]["sweeps"] = lines[1]["sweeps"][-1:]
    write_lines(path, lines)
    assert main(["archive", "--source", str(path), "--out", str(tmp_path / "out.jsonl.gz")]) == 1
    told = capsys.readouterr()
    assert "sweep newer' has schema 2" in told.err and "sweep 'mixed' mixes budgets" in told.err
    assert told.out.endswith(f"{len(lines) - 1} cells of kernel_size\n")
    before = path.read_bytes()
    with pytest.raises(UserError, match="is a source, and a part of the sources cannot be archived"):
        main(["archive", "--source", str(path), "--out", str(path)])
    assert path.read_bytes() == before
    write_lines(path, [{**line, "sweeps": line["sweeps"][-1:]} for line in lines[1:]])
    with pytest.raises(UserError, match="sweep 'mixed' mixes budgets"):
        main(["archive", "--source", str(path), "--out", str(tmp_path / "none.jsonl.gz")])


def test_a_damaged_source_is_told_by_the_exit_code_and_never_replaced(archive, tmp_path, capsys) -> None:
    damaged, out = tmp_path / "match_small.jsonl.gz", tmp_path / "out.jsonl.gz"
    damaged.write_bytes(archive.read_bytes()[:-20])
    (tmp_path / "link.jsonl.gz").symlink_to(damaged)
    for target in (damaged, tmp_path / "link.jsonl.gz", tmp_path):
        with pytest.raises(UserError, match="name another file"):
            main(["archive", "--source", str(damaged), "--out", str(target)])
    assert damaged.read_bytes() == archive.read_bytes()[:-20] and not out.exists()
    assert main(["archive", "--source", str(damaged), "--out", str(out)]) == 1
    assert "cannot be read after line" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["../up", "/tmp/up", "", ".hidden", "a b"])
def test_a_recipe_leads_to_no_file_outside_the_folder(archive, tmp_path, recipe) -> None:
    lines = lines_of(archive)
    for line in lines:
        line["sweeps"][0]["plan"]["recipe"] = recipe
    path, folder = tmp_path / "a.jsonl.gz", tmp_path / "deep" / "folder"
    write_lines(path, lines)
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot name a file"):
        main(["archive", "--source", str(path), "--out", str(folder)])
    assert list(folder.parent.rglob("*")) == [folder]


@pytest.mark.parametrize("key", ["sweep", "recipe"])
@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\x1b[31mred", "\u202eback"], ids=ascii)
def test_a_name_with_a_line_break_or_a_control_character_is_refused(archive, tmp_path, key, name) -> None:
    line, *_ = lines_of(archive)
    line["sweeps"][0]["plan"][key] = name
    write_lines(tmp_path / "a.jsonl.gz", [line])
    with pytest.raises(UserError, match=rf"{key}=.*without line breaks"):
        main(["tables", "--source", str(tmp_path / "a.jsonl.gz"), "--out", str(tmp_path / "t")])
    assert not (tmp_path / "t").exists()


def test_records_of_a_newer_version_and_long_lines_are_named(ledger, archive, tmp_path, monkeypatch) -> None:
    lines = gzip.decompress(archive.read_bytes()).splitlines(keepends=True)
    longest = max(map(len, lines))
    monkeypatch.setattr("analysis.sources.archive.LONGEST_LINE", longest)
    newer = b'{"record": {"schema": 2}, "sweeps": [], "curves": {}}\n'
    content = [lines[0], newer, b"x" * longest + b"\n", b"y" * 3 * longest + b"\n", *lines[1:], b"z" * (longest + 1)]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(content)))
    losses = [loss.removeprefix(f"{path}: line ") for loss in Archive(path).losses]
    long = "is left out, because it has more than 0 MiB"
    assert losses[0].startswith("2 is left out, because it has schema 2, and this version reads 1;")
    assert losses[1:] == [f"3 {long}", f"4 {long}", f"{len(content)} {long}"]
    same(Collection([ledger.out]), Collection([path]))


def test_no_folder_and_no_machine_is_named(ledger, tmp_path) -> None:
    cell = ledger.cell("convolution", 1, 0)
    host = socket.gethostname()
    ledger.write(
        cell, 24.4,
        data={"digest": "0" * 16, "by": "pixels", "classes": 10, "folder": "/home/someone/data"},
        environment={"device": f"cpu ({host})", "variables": "A=2 OMP_X=/opt/a/lib MKL_Y=~/b/c T=D:\\e\\f B=x"},
        config={"train": {"epochs": 3, "steps": None}, "detector": {"weights": "/home/someone/w.pth"}, "data": {}},
        tracking="untracked: /home/someone/wandb", metrics_bytes=7, segments=[{"checkpoint": "/tmp/x/step=5.ckpt"}],
    )  # fmt: skip
    (ledger.folder("convolution", 1, 0) / "metrics.csv").write_text("1234567")
    path = tmp_path / "a.jsonl.gz"
    assert main(["archive", "--source", str(ledger.out), "--out", str(path)]) == 0
    text = gzip.decompress(path.read_bytes()).decode()
    [line] = [line for line in lines_of(path) if line["record"]["cell_id"] == cell["cell_id"]]
    assert line["record"]["environment"]["variables"] == "A=2 B=x"
    assert line["record"]["config"]["detector"]["weights"] == "w.pth"
    assert line["record"]["data"] == {"digest": "0" * 16, "by": "pixels", "classes": 10}
    for word in ("someone", "/home", "/tmp", "/opt", str(tmp_path), "tracking", "metrics_bytes"):
        assert word not in text
    assert not re.search(rf"\b{re.escape(host)}\b", text)
    assert "\\/" not in text and public(line["record"]) == line["record"], "what is clean stays as it is"


@pytest.mark.parametrize(
    "text",
    ["cpu (AMD EPYC 9B14 96-Core)", "source package.module:Class", "1/2", "docs/protocol/fashion.md", "a / b", "top1",
     "https://example.org/a/b", "0123456789abcdef-dirty", "Convolution + 1x1", "~5", "a\\b"],
)  # fmt: skip
def test_texts_that_are_no_paths_stay(text) -> None:
    assert public({"environment": {"device": text}})["environment"]["device"] == text


def test_damaged_lines_cost_themselves_alone(ledger, archive, tmp_path) -> None:
    lines = gzip.decompress(archive.read_bytes()).splitlines(keepends=True)
    damaged = tmp_path / "damaged.jsonl.gz"
    damaged.write_bytes(
        gzip.compress(b"".join([lines[0], b"{\n", b'{"record": {}}\n', b"[" * 9999 + b"\n", *lines[1:]]))
    )
    source = Archive(damaged)
    assert [loss.partition(": ")[2].split(" is ")[0] for loss in source.losses] == ["line 2", "line 3", "line 4"]
    same(Collection([ledger.out]), Collection([damaged]))
    for content in (archive.read_bytes()[:-20], archive.read_bytes()[:9], archive.read_bytes()[:200] + b"x" * 200):
        damaged.write_bytes(content)
        [loss] = Archive(damaged).losses
        assert "cannot be read after line" in loss


def places(value, path=()):
    """The path to every value in a line."""
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, [[]], -(10**30)], ids=repr)
def test_a_line_with_any_other_value_is_left_out_or_refused_in_one_sentence(make_ledger, tmp_path, junk) -> None:
    """Wherever the value stands. Values that readers do not look at change nothing."""
    ledger = make_ledger({"convolution": {1: [24.4, 24.7]}, "xvolution": {1: [96.8]}})
    ledger.write_curves()
    ledger.lose("xvolution", 1, 0)
    path = tmp_path / "a.jsonl.gz"
    assert main(["archive", "--source", str(ledger.out), "--out", str(path)]) == 0
    first, second = lines_of(path)
    for where in list(places(first)):
        if where[:1] == ("record",) and len(where) > 1:
            continue  # the record is checked where every source's is
        if len(where) > 4 and junk in (None, -(10**30)):
            continue  # and so are the values of a plan
        line = json.loads(json.dumps(first))
        inner = line
        for key in where[:-1]:
            inner = inner[key]
        if where:
            inner[where[-1]] = junk
        else:
            line = junk
        path.write_bytes(gzip.compress(f"{json.dumps(line)}\n{json.dumps(second)}\n".encode()))
        with contextlib.suppress(UserError):
            found = Collection([path])
            for cell in [item["record"]["cell_id"] for item in (first, second)]:
                found.curve(cell, "val_top1")
            found.load("kernel_size")


def test_recipes_go_to_files_of_their_own(make_ledger, ledger, archive, tmp_path) -> None:
    other = json.loads((ledger.out / "kernel_size" / "cells.json").read_text())
    folder = ledger.out / "stage"
    folder.mkdir()
    (folder / "cells.json").write_text(json.dumps({**other, "sweep": "stage", "recipe": "digits_small"}))
    with pytest.raises(UserError, match=r"several recipes \(digits_small, match_small\)"):
        main(["archive", "--source", str(ledger.out), "--out", str(tmp_path / "x.jsonl.gz")])
    with pytest.raises(UserError, match=r"no sweep on recipe 'digit'.*digits_small"):
        main(["archive", "--source", str(ledger.out), "--recipe", "digit", "--out", str(tmp_path / "x.jsonl.gz")])
    results = tmp_path / "all"
    results.mkdir()
    assert main(["archive", "--source", str(ledger.out), "--out", str(results)]) == 0
    assert sorted(path.name for path in results.iterdir()) == ["digits_small.jsonl.gz", "match_small.jsonl.gz"]
    assert (results / "match_small.jsonl.gz").read_bytes() == archive.read_bytes()
    same(Collection([results / "digits_small.jsonl.gz"]), Collection([results / "digits_small.jsonl.gz"]))


def test_what_cannot_be_an_archive_is_one_sentence(ledger, tmp_path) -> None:
    with pytest.raises(UserError, match=r"must end in \.jsonl\.gz"):
        main(["archive", "--source", str(ledger.out), "--out", str(tmp_path / "x.zip")])
    empty = tmp_path / "empty.jsonl.gz"
    empty.write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match="no sweep to archive"):
        main(["archive", "--source", str(empty), "--out", str(tmp_path / "x.jsonl.gz")])
    with pytest.raises(UserError, match=r"no runs at .*no such folder"):
        main(["archive", "--source", str(tmp_path / "none.jsonl.gz"), "--out", str(tmp_path / "x.jsonl.gz")])


def test_renderings_of_an_archive_do_not_go_beside_it(archive, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tables", "--source", str(archive)]) == 0
    assert (tmp_path / "kernel_size" / "table.md").exists()


def test_a_trained_ledger_and_its_archive_agree(tmp_path, monkeypatch) -> None:
    from ablations import run

    monkeypatch.chdir(tmp_path)
    small = {"backbone.widths": "4,4,8,8", "data.limit": 40, "train.steps": 6}
    options = {"smoke": True, "seeds": 1, "only": {"kernel_size": 1}, "settings": small, "wandb": "disabled"}
    assert run("kernel_size", out="runs", **options).exit_code == 0
    path = tmp_path / "match_small.jsonl.gz"
    assert main(["archive", "--source", "runs", "--out", str(path)]) == 0
    same(Collection(["runs"]), Collection([path]))
    text = gzip.decompress(path.read_bytes()).decode()
    assert str(tmp_path) not in text and socket.gethostname() not in text
    assert lines_of(path)[0]["curves"]["val_top1"]
    assert main(["restore", "--source", str(path), "--out", "again"]) == 0
    assert run("kernel_size", out="again", **options).exit_code == 0
    assert not list(Path("again").glob("cells/*/checkpoints")), "no cell runs again"
    for name in ("table.md", "table.tex", "table.csv"):
        assert Path("again/kernel_size", name).read_bytes() == Path("runs/kernel_size", name).read_bytes()
