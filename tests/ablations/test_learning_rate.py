"""The sweep `learning_rate` shows the validation split, and a sweep may begin with any seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ablations import learning_rate, operator
from ablations.engine.cells import make_cells
from ablations.engine.options import read_options
from ablations.engine.plan import describe_cells
from ablations.engine.selection import cells_of, choose
from ablations.engine.sweep import recipes_for
from lightning_xvol.config import registry
from lightning_xvol.config.metrics import METRICS
from lightning_xvol.config.recipes import RECIPES, get_recipe
from lightning_xvol.data import build_data


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_sweep_runs_on_any_recipe_and_changes_the_rate_alone(recipe: str) -> None:
    sweep = learning_rate.SWEEP
    assert recipe in recipes_for(sweep)
    cells = make_cells(sweep, get_recipe(recipe), 1)
    assert {cell.config.optim.lr for cell in cells} == {0.03, 0.1, 0.3}
    if recipe in recipes_for(operator.SWEEP):
        own = {cell.row: cell.config for cell in make_cells(operator.SWEEP, get_recipe(recipe), 1)}
        for cell in cells:
            rate = cell.config.optim.lr
            assert rate == cell.axes["learning_rate"]
            same = own[cell.row].optim.lr == rate
            assert (cell.config == own[cell.row]) == same and cell.config.operator == own[cell.row].operator


@pytest.mark.parametrize(
    ("recipe", "metric"),
    [
        ("fashion_small", "val_top1"),
        ("match_small", "val_top1"),
        ("digits_small", "top1"),
        ("coco_mask_rcnn", "mask_ap"),
    ],
)
def test_the_table_shows_the_validation_split(recipe: str, metric: str) -> None:
    cells = make_cells(learning_rate.SWEEP, get_recipe(recipe), 1)
    plan = describe_cells(learning_rate.SWEEP, get_recipe(recipe), cells, smoke=False)
    assert plan["metric"] == metric and plan["metric_label"].startswith("validation ") == (metric == "val_top1")
    other = describe_cells(operator.SWEEP, get_recipe(recipe), cells, smoke=False)
    assert other["metric"] == METRICS[get_recipe(recipe).task].name


def test_what_the_registry_says_about_test_splits_is_true(tmp_path: Path, monkeypatch: Any) -> None:
    """For every data set that needs no files; Fashion-MNIST is asked in tests/data."""
    for name in ("match", "digits", "attention_maps"):
        options = {option: 2 for option in registry.DATASETS[name].options if option.endswith("_size")}
        options |= {"image_size": 8} if name == "digits" else {}
        data = build_data(get_recipe("match_small").config().data.__class__(name, options=options), tmp_path)
        assert (data.test() is not None) == registry.has_test_split(name, options)
    sizes = {"split": "by_seed", "train_size": 1, "validation_size": 1}
    assert registry.has_test_split("fashion_mnist", sizes) and not registry.has_test_split("fashion_mnist", {})


def seeds_of(**given: Any) -> list[int]:
    options = read_options({"recipe": "match_small", "only": {"operator": "convolution"}, **given})
    return [cell.config.seed for cell in choose(cells_of(operator.SWEEP, options), options)]


def test_the_first_seed_moves_the_seeds() -> None:
    assert seeds_of() == [0, 1, 2]
    assert seeds_of(first_seed=100, seeds=2) == [100, 101]
    assert seeds_of(first_seed="3") == [3, 4, 5]
    assert seeds_of(first_seed=100, seeds=3, only={"operator": "convolution", "seed": 101}) == [101]


def test_a_cell_is_found_by_group_and_seed_wherever_the_seeds_begin() -> None:
    group = make_cells(operator.SWEEP, get_recipe("match_small"), 1)[0].group
    for given in ({}, {"first_seed": 100}, {"first_seed": 100, "seeds": 2}):
        assert seeds_of(cell=group, seed=101, only={}, **given) == [101]


def test_runs_begin_with_the_first_seed(bench: Any) -> None:
    assert (
        bench.here(*bench.quick, "--only", "operator=convolution", "--only", "kernel_size=1", "--first-seed", "7").code
        == 0
    )
    assert {result["seed"] for result in bench.ledger.results().values()} == {7}


@pytest.mark.parametrize("value", ["-1", "x", "1.5"])
def test_a_first_seed_that_is_no_seed_is_one_sentence(value: str, bench: Any) -> None:
    ended = bench.here("--first-seed", value)
    assert ended.code == 2 and f"--first-seed: {value!r} must be a whole number" in ended.err
