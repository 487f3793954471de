"""`python -m ablations.all` runs several sweeps on one recipe, and the cells that they share once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations import all as all_sweeps
from ablations import rows
from ablations.engine.sweep import Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.errors import ExitCode, UserError

QUICK = ("--smoke", "--seeds", "1", "--wandb", "disabled", "--set", "data.limit=64")


def make_sweep(name: str, *operators: str, configure: Callable[..., RunConfig] = rows.configure) -> Sweep:
    return Sweep(
        name, f"Sweep {name}", "no table", dict.fromkeys(operators, ""), configure, operators[0], figure="dots"
    )


def faulty(recipe: Recipe, row: str) -> RunConfig:
    return recipe.config(f"faulty_operators:{row}")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Sweep]:
    found = {
        "unbuilt": make_sweep("unbuilt", "RaisesWhenBuilt", configure=faulty),
        "failing": make_sweep("failing", "Raises", configure=faulty),
        "one": make_sweep("one", "convolution", "pssa"),
        "two": make_sweep("two", "convolution", "multi_convolution"),
    }
    monkeypatch.setattr(all_sweeps, "sweeps", lambda: found)
    return found


def test_shared_cells_run_once_and_no_failure_stops_the_others(
    known: dict[str, Sweep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert all_sweeps.command([*QUICK, "--out", str(out)]) == ExitCode.FAILURE
    captured = capsys.readouterr()
    assert "unbuilt: error: cannot build" in captured.err and "Traceback" not in captured.err
    assert "failed: " in captured.out and "broken on purpose" in captured.out
    assert "one, recipe match_small: 2 cells, 0 done, 2 to run" in captured.out
    assert "two, recipe match_small: 2 cells, 1 done, 1 to run" in captured.out
    assert all((out / name / "table.md").exists() for name in ("failing", "one", "two"))
    results = [json.loads(path.read_text()) for path in out.glob("cells/*/result.json")]
    assert len(results) == 3
    times = captured.out.partition("--- computing time of the runs, also of earlier commands")[2].splitlines()[1:]
    counts = [line.rpartition(": ")[2].split(", ")[0] for line in times]
    assert all(line.endswith(" of CPU time") for line in times)
    assert [line.split(":")[0] for line in times] == ["failing", "one", "two", "all, shared cells once"]
    assert counts == ["0 cells", "2 cells", "2 cells", "3 cells"]

    assert all_sweeps.command([*QUICK, "--out", str(out), "--sweeps", "two,one"]) == 0
    again = capsys.readouterr().out
    assert "0 to run" in again and again.index("two, recipe") < again.index("one, recipe")
    assert all_sweeps.command([*QUICK, "--out", str(out), "--sweeps", "unbuilt"]) == ExitCode.BAD_INPUT


def test_a_sweep_that_refuses_the_flags_does_not_hide_the_others(
    known: dict[str, Sweep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known["elsewhere"] = dataclasses.replace(make_sweep("elsewhere", "convolution"), recipes=("digits_small",))
    code = all_sweeps.command([*QUICK, "--out", str(tmp_path), "--sweeps", "elsewhere,one", "--dry-run"])
    captured = capsys.readouterr()
    assert code == ExitCode.BAD_INPUT
    assert captured.err.startswith("elsewhere: error: sweep 'elsewhere' does not run on recipe 'match_small'")
    assert "all, recipe match_small, 2 cells" in captured.out and "Traceback" not in captured.err


def test_the_dry_run_lists_the_union(known: dict[str, Sweep], tmp_path: Path, capsys: Any) -> None:
    arguments = [*QUICK, "--out", str(tmp_path / "runs"), "--sweeps", "one,two", "--dry-run"]
    assert all_sweeps.command(arguments) == 0
    *lines, one, two, last = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines] == ["[one, two]", "[one]", "[two]"]
    assert len({line.split()[0] for line in lines}) == 3
    assert one.startswith("one: 2 cells") and two.startswith("two: 2 cells")
    assert "3 cells" in last and "3 missing" in last
    assert not (tmp_path / "runs").exists()


def test_sweeps_for_another_recipe_are_left_out_or_refused(known: Any, tmp_path: Path, capsys: Any) -> None:
    known["one"] = dataclasses.replace(known["one"], recipes=("digits_small",))
    arguments = [*QUICK, "--out", str(tmp_path / "runs")]
    del known["unbuilt"]
    assert all_sweeps.command([*arguments, "--dry-run"]) == 0
    captured = capsys.readouterr().out
    assert captured.startswith("left out, as they do not run on recipe match_small: one\n")
    assert [line.split(":")[0] for line in captured.splitlines()[-3:-1]] == ["failing", "two"]
    assert all_sweeps.command([*arguments, "--sweeps", "one"]) == ExitCode.BAD_INPUT
    assert "one: error: sweep 'one' does not run on recipe 'match_small'" in capsys.readouterr().err


def test_mistakes_raise_a_user_error(known: dict[str, Sweep]) -> None:
    for arguments, words in {
        ("--sweeps", "tow"): "--sweeps tow: no such sweep .did you mean 'two'.*one",
        ("--sweeps", ","): "chooses nothing",
        ("--recipe", "match_smal"): "did you mean 'match_small'",
        ("--force",): "--force",
    }.items():
        with pytest.raises(UserError, match=words):
            all_sweeps.command(list(arguments))
