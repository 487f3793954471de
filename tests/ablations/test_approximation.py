"""The sweeps on global attention and on distance: their rows, and a table with further metrics."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ablations import approximation, approximation_distance, distance
from ablations.engine.cells import make_cells
from ablations.engine.sweep import Sweep
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.errors import UserError

QUICK = (
    *("--seeds", "1", "--wandb", "disabled", "--smoke", "--set", "data.train_size=64"),
    *("--set", "data.validation_size=32", "--set", "data.size=6", "--set", "data.channels=4"),
)


def cells(sweep: Sweep, recipe: str | None = None, seeds: int = 1) -> list[Any]:
    return make_cells(sweep, get_recipe(recipe or sweep.recipe), seeds=seeds)


@pytest.mark.parametrize("recipe", ["attention_maps", "attention_photographs"])
def test_rows_differ_in_the_operator_and_columns_in_depth_and_softmax(recipe: str) -> None:
    by_place: dict[Any, dict[str, Any]] = {}
    for cell in cells(approximation.SWEEP, recipe):
        by_place.setdefault((cell.axes["softmax"], cell.axes["depth"]), {})[cell.row] = cell.config
    assert len(by_place) == 12
    for (softmax, depth), rows in by_place.items():
        assert len(rows) == 12
        for row, config in rows.items():
            assert config.data.options["softmax"] is softmax
            assert config.backbone.options["depth"] == (1 if row == "static_1x1" else depth)
            assert (config.optim.lr == 0) == (row == "static_1x1")
        assert len({repr(config.operator) for config in rows.values()}) == 11, "the first two rows share an operator"
        assert len({repr(config.train) for config in rows.values()}) == 1


def test_the_papers_distances_are_the_cells_of_the_other_sweep() -> None:
    ids = {cell.id for cell in cells(approximation.SWEEP)}
    for cell in cells(approximation_distance.SWEEP):
        assert (cell.id in ids) == (cell.row == "static_1x1" or tuple(cell.axes["shift_distances"]) == (1, 3, 5))


def test_the_distance_sweep_changes_data_and_shifts_alone() -> None:
    for cell in cells(distance.SWEEP):
        assert cell.config.data.options["distance"] == cell.axes["distance"]
        assert cell.config.data.options["canvas"] == 48
        if cell.row != "convolution":
            shifts = distance.SHIFTS[cell.row.removesuffix("_static")]
            assert cell.config.operator.options["shift_distances"] == shifts


def test_a_recipe_that_does_not_fit_is_refused_with_the_ones_that_do() -> None:
    with pytest.raises(UserError, match=r"'approximation' does not run on recipe 'match_small'; .*attention_maps"):
        cells(approximation.SWEEP, "match_small")
    with pytest.raises(UserError, match="it runs on: match_small"):
        cells(distance.SWEEP, "attention_maps")


def test_a_smoke_run_shows_the_secondary_metrics(bench: Any) -> None:
    bench.sweep = "approximation"
    rows = "operator=static_1x1,convolution,pssa"
    ended = bench.here(*QUICK, "--only", "depth=1", "--only", "softmax=True", "--only", rows)
    assert ended.code == 0, ended
    folder = bench.out / "approximation"
    static, conv, pssa = sorted(bench.ledger.results().values(), key=lambda result: result["metrics"]["reach"]["last"])
    assert static["config"]["optim"]["lr"] == 0 and conv["config"]["operator"]["name"] == "convolution"
    assert pssa["metrics"]["reach"]["last"] > conv["metrics"]["reach"]["last"] > 0
    table = (folder / "table.md").read_text()
    whole = f"{static['metrics']['explained_variance']['last']:.1f}"
    _, below = table.split("*Variance explained in all (%)*")
    assert f"| Static 1x1, fitted, softmax = yes | {whole} |" in " ".join(below.split())
    assert "*Reach (pixels)*" in below and "*Parameters*" in below
    assert json.loads((folder / "cells.json").read_text())["beside"][1] == ["reach", "reach (pixels)"]
    assert (folder / "figure.svg").stat().st_size > 1000
