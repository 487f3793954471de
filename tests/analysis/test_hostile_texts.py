"""No control character, half letter or mark of direction of a foreign text reaches any output; no CSV has a formula.

The property runs over every command and every kind of file that it writes.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from lightning_xvol.surroundings.printing import in_one_line, printable

EVIL = "=A\x1b]0;t\x07\x1b[2J\r\x00\x7f\x9b\u202eb\u2066c\ud800\u2028\ufeff$x_1^2</script>&"
FORMULAS = ("@SUM(1)", "=1+1", "+1", "-1+2", "\t=1")
COMMANDS = ("summary", "tables", "figures", "claims", "report")


def unsafe(text: str) -> set[str]:
    """The characters of `text` that no output may hold, by the tables of Unicode."""
    direction = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return {
        each
        for each in text
        if (unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") and each not in "\n\t")
        or unicodedata.bidirectional(each) in direction
        or each in "\u200e\u200f\u061c\ufeff\ufffe\uffff"
    }


def test_a_safe_text_holds_none_of_all_characters_that_are_unsafe() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    safe = printable(everything)
    assert len(safe) == len(everything) and not unsafe(safe)
    kept = [each for each, after in zip(everything, safe, strict=True) if each == after]
    assert len(kept) > sys.maxunicode - 2048 - 300  # half letters, and some 200 others
    assert all(each in kept for each in "azÄ中é−±\u200d\U0001f600\n\t")
    assert in_one_line("a\nb\x1b") == "a b?"


@pytest.fixture
def hostile(make_ledger: Any) -> Path:
    """A ledger in which every text that a file can choose is `EVIL`, and two sweeps whose plans cannot be read."""
    scores = {"convolution": {1: [20.0, 21.0], 3: [70.0, 71.0]}, "xvolution": {1: [90.0, 91.0], 3: [95.0, 96.0]}}
    runs = make_ledger(
        scores, title=EVIL, recipe="".join(filter(str.isprintable, EVIL)), data=EVIL, budget=EVIL, metric_label=EVIL,
        note=EVIL, settings=[EVIL],
        axes=["kernel_size", EVIL], axis_labels={"kernel_size": EVIL, EVIL: EVIL}, beside={"val_top1": EVIL},
        controls={EVIL: ["convolution"]},
    )  # fmt: skip
    for number, cell in enumerate(runs.cells):
        runs.write(cell, 50.0 + number, commit=EVIL, environment={"torch": EVIL, "device": EVIL})
        cell["axes"][EVIL] = EVIL
        if cell["operator"] == "xvolution":
            cell |= {"operator": EVIL, "label": EVIL}
    runs.write_curves()
    failed = runs.out / "cells" / runs.cells[-1]["cell_id"]
    (failed / "result.json").unlink()
    (failed / "failure.json").write_text(json.dumps({"error": EVIL, "step": 1, "attempt": 1}))
    runs.write_sweep()
    for name in (b"bad\x1b[2J", b"not utf-8 \xff"):
        folder = runs.out / os.fsdecode(name)
        folder.mkdir()
        (folder / "cells.json").write_text(json.dumps({"schema": 1, EVIL: EVIL, "title": 5}))
    return runs.out


def written_texts(out: Path) -> dict[str, str]:
    """The text in every file below `out`; bytes that are no text become half letters."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        if path.suffix not in (".png", ".pdf"):
            found[path.name] = path.read_bytes().decode(errors="surrogateescape")
    return found


def test_no_output_of_any_command_is_unsafe(hostile: Path, tmp_path: Path) -> None:
    for command in COMMANDS:
        out = tmp_path / "out" / command
        arguments = [sys.executable, "-m", "analysis", command, "--source", str(hostile)]
        arguments += ["--out", str(out)] if command in ("tables", "figures", "report") else []
        done = subprocess.run(arguments, capture_output=True, timeout=120, check=False)
        texts = {
            "stdout": done.stdout.decode(errors="surrogateescape"),
            "stderr": done.stderr.decode(errors="surrogateescape"),
        }
        assert done.returncode == 0 and "Traceback" not in texts["stderr"], texts["stderr"]
        assert texts["stderr"].count("note: left out: ") == (0 if command in ("summary", "report") else 2)
        texts |= written_texts(out)
        assert {name: unsafe(text) for name, text in texts.items() if unsafe(text)} == {}, command
    suffixes = {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert suffixes == {".md", ".tex", ".csv", ".svg", ".png", ".pdf", ".html"}
    for path in (tmp_path / "out").rglob("*.svg"):
        ElementTree.parse(path)


def test_an_error_of_any_command_is_one_safe_line(hostile: Path) -> None:
    commands = [
        ["analysis", "tables", "--source", str(hostile), "--sweep", EVIL.replace("\0", "").replace("\ud800", "")],
        ["analysis", "tables", "--source", "a\x1bb\nc"],
        ["lightning_xvol", "fuse", "--checkpoint", "a\x1bb\nc", "--output", "x"],
        ["lightning_xvol", "fit", "--set", "optim.lr=\x1b[2J\u202e"],
        ["ablations.kernel_size", "--only", "operator=\x1b]0;t\x07"],
        ["benchmarks", "a\x1bb"],
    ]
    for command in commands:
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, timeout=120, check=False)
        text = done.stderr.decode()
        assert done.returncode == 2 and not unsafe(text) and len(text.splitlines()) == 1, (command, text)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_runs_no_cell_of_a_csv(make_ledger: Any, tmp_path: Path, text: str) -> None:
    runs = make_ledger(axes=["kernel_size", text], axis_labels={}, figure=None)
    for cell in runs.cells:
        cell["axes"][text] = text
        if cell["operator"] == "xvolution":
            cell |= {"operator": text, "label": text}
    runs.sweep["controls"] = {}
    runs.write_sweep()
    from analysis.__main__ import main

    assert main(["tables", "--source", str(runs.out), "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "kernel_size" / "table.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    number = re.compile(r"-?[0-9.]+(e[+-]?[0-9]+)?")
    cells = [cell for row in rows for cell in row]
    assert sum(cell == f"'{text}" for cell in cells) > 10
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t")) and not number.fullmatch(cell)] == []
