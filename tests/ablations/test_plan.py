"""`cells.json`: what it holds of the command, and the note when another command replaces it."""

from __future__ import annotations

import json
from typing import Any

import pytest

ONE = ("--only", "kernel_size=1", "--only", "operator=convolution")


def test_a_table_says_what_set_changed(bench: Any) -> None:
    ended = bench.here(*bench.quick, *ONE, "--set", "optim.lr=0.03")
    assert ended.code == 0
    plan = json.loads((bench.out / "kernel_size" / "cells.json").read_text())
    assert plan["settings"] == ["data.limit=64", "optim.lr=0.03"]
    for name in ("table.md", "table.tex"):
        text = (bench.out / "kernel_size" / name).read_text()
        assert "changed: data.limit=64, optim.lr=0.03;" in text.replace("\\_", "_"), name


def test_an_added_row_is_no_change_of_the_recipe(bench: Any) -> None:
    flags = ("--smoke", "--seeds", "1", "--wandb", "disabled", "--set", "operator.name=pssa", "--set", "train.steps=1")
    assert bench.here(*flags, "--only", "kernel_size=1", "--only", "operator=pssa").code == 0
    assert "changed: train.steps=1;" in (bench.out / "kernel_size" / "table.md").read_text()


def test_a_command_that_replaces_a_table_says_so(bench: Any) -> None:
    assert "note:" not in bench.here(*bench.quick, *ONE).out
    assert "note:" not in bench.here(*bench.quick, "--seeds", "2", *ONE).out, "more seeds are the same experiment"
    ended = bench.here(*bench.quick, *ONE, "--set", "optim.lr=0.03")
    [note] = [line for line in ended.out.splitlines() if line.startswith("note:")]
    before = "match_small, a smoke run, data.limit=64"
    assert f"was {before} and becomes {before}, optim.lr=0.03;" in note and "--out" in note
    assert "becomes digits_small" in bench.here(*bench.quick, *ONE, "--recipe", "digits_small").out
    assert len(bench.ledger.results()) == 4, "runs stay"


@pytest.mark.parametrize("torn", ["", "[]", '{"cells": 3}', '{"cells": [{"operator": "x"}]}'])
def test_a_damaged_plan_is_replaced(torn: str, bench: Any) -> None:
    (bench.out / "kernel_size").mkdir(parents=True)
    (bench.out / "kernel_size" / "cells.json").write_text(torn)
    ended = bench.here(*bench.quick, *ONE)
    assert ended.code == 0 and "note:" not in ended.out


def test_the_plan_of_a_newer_version_is_not_replaced(bench: Any) -> None:
    folder = bench.out / "kernel_size"
    folder.mkdir(parents=True)
    (folder / "cells.json").write_text('{"schema": 2, "cells": []}')
    ended = bench.here(*bench.quick, *ONE)
    assert ended.code == 2 and "has schema 2, and this version reads 1" in ended.err
    assert (folder / "cells.json").read_text() == '{"schema": 2, "cells": []}'
    assert not (bench.out / "cells").exists()


def test_cells_of_an_odd_plan_do_not_enter_the_new_one(bench: Any) -> None:
    """A cell that names a folder elsewhere, or lacks a label, would make the new plan as odd as the old one."""
    assert bench.here(*bench.quick, *ONE).code == 0
    path = bench.out / "kernel_size" / "cells.json"
    plan = json.loads(path.read_text())
    cell, *others = plan["cells"]
    odd = {**cell, "seed": 7, "cell_id": f"../cells/{cell['cell_id']}"}
    path.write_text(json.dumps({**plan, "cells": [cell, *others, odd]}))
    assert bench.here(*bench.quick, *ONE).code == 0
    assert json.loads(path.read_text()) == plan
