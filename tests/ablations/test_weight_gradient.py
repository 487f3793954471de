"""Runs from before `train.weight_gradient` are read, told apart from new ones, and never averaged with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import ablations
from ablations import operator as operator_sweep
from ablations.engine.options import read_options
from ablations.engine.selection import cells_of, choose
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.config.resolved import Resolved, canonical, resolve
from lightning_xvol.config.schema import from_dict, from_record, set_value, to_dict
from lightning_xvol.ledger import record
from lightning_xvol.training.run import RunContext, train
from lightning_xvol.training.tracking import Tracking

GOLDEN = json.loads((Path(__file__).parents[1] / "core" / "golden_fingerprints.json").read_text())["ids"]
# The ids of the default recipe with live taps: group, seed 0.
LIVE = {"multi_convolution": ("1be5b1e70e54", "26f6cc01faca"), "xvolution": ("45c2eecfde01", "4f7662296e57")}
SETTINGS = {"train.steps": 2, "backbone.widths": "4,4,8,8", "backbone.stem_width": 4}
OPTIONS: dict[str, Any] = {
    "smoke": True, "wandb": "disabled", "seeds": 3, "only": {"operator": "multi_convolution"}, "settings": SETTINGS,
}  # fmt: skip
QUIET = RunContext(tracking=Tracking("disabled"))


def plain(config: Resolved) -> Resolved:
    return resolve(set_value(config, "train.weight_gradient", "plain"))


def asked(out: Path, **changes: Any) -> list[Resolved]:
    read = read_options({**OPTIONS, **changes, "out": out})
    return [cell.config for cell in choose(cells_of(operator_sweep.SWEEP, read), read)]


def without_the_field(values: dict[str, Any]) -> dict[str, Any]:
    """The recorded configuration as an older version wrote it."""
    return {**values, "train": {name: value for name, value in values["train"].items() if name != "weight_gradient"}}


def finish_as_before(config: Resolved, out: Path) -> float:
    """Train `config` as an older version did, and return its accuracy."""
    folder = record.cell_folder(out, plain(config).cell_id)
    train(plain(config), folder, QUIET)
    result = json.loads((folder / "result.json").read_text())
    result["config"] = without_the_field(result["config"])
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text(yaml.safe_dump(result["config"]))
    return result["metrics"]["top1"]["last"]


@pytest.mark.parametrize("operator", GOLDEN["match_small"])
def test_a_record_without_the_field_has_the_id_of_its_time(operator: str) -> None:
    recipe = RECIPES["match_small"].config(operator)
    for option, value in registry.OPERATORS[operator].legacy_values.items():
        recipe = set_value(recipe, f"operator.options.{option}", value)
    config = resolve(recipe)
    old = from_record(without_the_field(to_dict(config)))
    assert record.cell_id(old) == GOLDEN["match_small"][operator]["seed 0"]
    assert record.cell_id(from_record(to_dict(config))) == config.cell_id
    assert record.cell_id(from_dict({}, config)) == config.cell_id
    assert record.optimisation_id(old) == config.optimisation_id, "both optimise the same"
    told = canonical(config)["train"].get("weight_gradient")
    assert (told == "live_taps") == (config.cell_id != record.cell_id(old))
    for changes in ({"train.precision": "bf16-mixed"}, {"train.compile": True}):
        for path, value in changes.items():
            forms = (set_value(set_value(config, path, value), "train.weight_gradient", form) for form in FORMS)
            assert len({record.cell_id(form) for form in forms}) == 1, f"{path} takes the plain form in any case"


FORMS = ("plain", "live_taps")


@pytest.mark.parametrize("operator", LIVE)
def test_the_new_ids_never_change(operator: str) -> None:
    config = resolve(RECIPES["match_small"].config(operator))
    assert (config.group_id, config.cell_id) == LIVE[operator]


def test_a_group_that_was_begun_before_stays_one_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = asked(tmp_path)
    scores = [finish_as_before(config, tmp_path) for config in new[:1]]
    found = asked(tmp_path)
    assert [config.cell_id for config in found] == [plain(config).cell_id for config in new]
    report = ablations.run("operator", **OPTIONS, out=tmp_path)
    assert report.counts == {"done": 3}
    assert {folder.name for folder in (tmp_path / "cells").iterdir()} == {config.cell_id for config in found}
    scores += [finish_as_before(config, tmp_path / "again") for config in new[1:]]
    table = pd.read_csv(tmp_path / "operator" / "table.csv")
    [row] = table[table["operator"] == "multi_convolution"].to_dict("records")
    assert row["n"] == 3 and row["mean"] == pytest.approx(sum(scores) / 3, abs=0.01)
    # Whoever asks for one of the two forms gets it.
    assert asked(tmp_path, settings={**SETTINGS, "train.weight_gradient": "plain"}) == found


def test_an_unfinished_run_stays_where_it_is_and_runs_anew(tmp_path: Path) -> None:
    [new, *_] = asked(tmp_path, seeds=1)
    folder = record.cell_folder(tmp_path, plain(new).cell_id)
    train(plain(new), folder, QUIET)
    (folder / "result.json").unlink()  # as if it had been killed after its last checkpoint
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert [config.cell_id for config in asked(tmp_path, seeds=1)] == [new.cell_id]
    report = ablations.run("operator", **{**OPTIONS, "seeds": 1}, out=tmp_path)
    assert report.counts == {"done": 1}
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    result = record.read_result(record.cell_folder(tmp_path, new.cell_id))
    assert result is not None and [segment["start_step"] for segment in result["segments"]] == [0]


def test_finished_runs_of_both_kinds_are_never_averaged(tmp_path: Path) -> None:
    new = asked(tmp_path)
    train(new[2], record.cell_folder(tmp_path, new[2].cell_id), QUIET)
    old = [finish_as_before(config, tmp_path) for config in new[:2]]
    chosen = asked(tmp_path)
    assert {config.group_id for config in chosen} == {plain(new[0]).group_id}, "most seeds are of that group"
    report = ablations.run("operator", **{**OPTIONS, "seeds": 2}, out=tmp_path)
    assert report.counts == {"done": 2}
    table = pd.read_csv(tmp_path / "operator" / "table.csv")
    [row] = table[table["operator"] == "multi_convolution"].to_dict("records")
    assert row["n"] == 2 and row["mean"] == pytest.approx(sum(old) / 2, abs=0.01)
