"""What each sweep varies, compared with the text of the paper, without running anything."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ablations import backbone, kernel_size, operator, position_encoding, pssa_form, schedule, shift_distance, stage
from ablations.engine.catalogue import sweeps
from ablations.engine.cells import make_cells
from ablations.engine.plan import describe_cells
from ablations.engine.selection import select
from ablations.engine.sweep import Cell, Sweep, recipes_for
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.schema import set_value
from lightning_xvol.modules.base import learning_rate_factor

PRODUCT_OPTIONS = ("form", "normalize", "position_encoding", "frozen_query_key")


def cells_of(sweep: Sweep, recipe: str = "match_small", *settings: tuple[str, str]) -> list[Cell]:
    return make_cells(sweep, get_recipe(recipe), 1, settings)


def by_column(sweep: Sweep, recipe: str = "match_small") -> dict[tuple[str, Any], Cell]:
    return {(cell.row, *cell.axes.values()): cell for cell in cells_of(sweep, recipe)}


def options(cell: Cell) -> dict[str, Any]:
    return dict(cell.config.operator.options)


def has_product(cell: Cell) -> bool:
    form = str(options(cell).get("form", ""))
    return cell.config.operator.name in ("pssa", "xvolution") and not form.startswith("static")


@pytest.mark.parametrize(
    ("name", "recipe"), [(name, recipe) for name, sweep in sweeps().items() for recipe in recipes_for(sweep)]
)
def test_pssa_and_xvolution_have_a_control_that_differs_in_the_product_alone(name: str, recipe: str) -> None:
    sweep = sweeps()[name]
    cells = by_column(sweep, recipe)
    for (row, *place), cell in cells.items():
        if not has_product(cell):
            continue
        statics = [cells[control, *place] for control in sweep.controls.get(row, ())]
        statics = [static for static in statics if not has_product(static)]
        assert statics, f"{row} has no static control"
        for static in statics:
            assert dataclasses.replace(static.config, operator=cell.config.operator) == cell.config
            assert static.config.operator.name == cell.config.operator.name
            if name == "pssa_form":  # has forms with weights per head and per channel
                continue
            changed = {key for key, value in options(cell).items() if options(static)[key] != value}
            assert changed <= set(PRODUCT_OPTIONS)


def test_sweeps_share_the_cells_of_the_paper() -> None:
    """The default X-volution, its control and the convolution are run once for all of them."""
    ids = {cell.row: cell.id for cell in cells_of(operator.SWEEP)}
    shared = {
        "position_encoding": by_column(position_encoding.SWEEP)["xvolution",],
        "shift_distance": by_column(shift_distance.SWEEP)["xvolution", (1, 3, 5)],
        "stage": by_column(stage.SWEEP)["xvolution", (3, 4, 5)],
        "schedule": by_column(schedule.SWEEP)["xvolution", 3],
        "kernel_size --reading A": by_column(kernel_size.READING_A)["xvolution", 3],
    }
    assert {name: cell.id for name, cell in shared.items()} == dict.fromkeys(shared, ids["xvolution"])
    assert by_column(stage.SWEEP)["convolution", "all"].id == ids["convolution"]
    by_sweep = [{cell.id for cell in cells_of(sweep, sweep.recipe)} for sweep in sweeps().values()]
    assert len(set.union(*by_sweep)) < sum(map(len, by_sweep)) - 20


def test_the_operator_sweep_has_the_operators_of_tables_1_to_3() -> None:
    assert [row for row in operator.SWEEP.rows if not row.endswith("_static")] == [
        "convolution", "multi_convolution", "aa_convolution", "involution", "self_attention", "pssa", "xvolution",
        "xvolution_sa", "xvolution_inv",
    ]  # fmt: skip


def test_the_shift_distance_sweep_changes_shifts_alone() -> None:
    cells = by_column(shift_distance.SWEEP)
    sets = {place for _, place in cells}
    assert sets == {(1,), (3,), (5,), (1, 3), (1, 3, 5), (1, 3, 5, 7)}
    for (row, place), cell in cells.items():
        assert row == "convolution" or options(cell)["shift_distances"] == place
    assert len({cell.id for (row, _), cell in cells.items() if row == "convolution"}) == 1
    chosen = select(list(cells.values()), {"shift_distances": ["1+3", "5"], "operator": ["pssa"]})
    assert [cell.name for cell in chosen] == ["pssa shift_distances=5 seed=0", "pssa shift_distances=1+3 seed=0"]


@pytest.mark.parametrize("recipe", recipes_for(stage.SWEEP))
def test_the_stage_sweep_puts_operators_where_the_column_says(recipe: str) -> None:
    for (row, place), cell in by_column(stage.SWEEP, recipe).items():
        network = cell.config.backbone
        if row == "convolution":
            assert network == get_recipe(recipe).config().backbone or cell.id in {
                one.id for one in cells_of(operator.SWEEP, recipe)
            }
        elif place == "all":
            assert (network.places, network.stages) == ("every", (2, 3, 4, 5))
        else:
            assert (network.places, network.stages) == ("block", place)


def test_an_added_operator_takes_what_the_column_says() -> None:
    for sweep, field in ((stage.SWEEP, "backbone"), (schedule.SWEEP, "train"), (backbone.SWEEP, "backbone")):
        cells = cells_of(sweep, "match_small", ("operator.name", "involution"))
        own = {
            cell.axes[next(iter(sweep.axes))]: getattr(cell.config, field) for cell in cells if cell.row == "xvolution"
        }
        added = [cell for cell in cells if cell.row == "involution"]
        assert len(added) == len(own) == len({cell.id for cell in added})
        for cell in added:
            assert getattr(cell.config, field) == own[cell.axes[next(iter(sweep.axes))]]


def test_position_encoding_is_on_where_it_says_so() -> None:
    for cell in cells_of(position_encoding.SWEEP):
        assert options(cell).get("position_encoding", False) == cell.row.endswith("_position")


def test_schedules_multiply_the_epochs_and_nothing_else() -> None:
    for recipe, base in (("match_small", 1), ("digits_small", 8), ("imagenet_resnet50", 100)):
        cells = by_column(schedule.SWEEP, recipe)
        assert {place for _, place in cells} == {1, 2, 3, 6}
        for (row, place), cell in cells.items():
            assert set_value(cells[row, 1].config, "train.epochs", base * place) == cell.config
    plan = describe_cells(schedule.SWEEP, get_recipe("match_small"), cells_of(schedule.SWEEP), smoke=False)
    assert plan["budget"] == "1, 2, 3, 6 epochs"


@pytest.mark.parametrize("recipe", ["coco_faster_rcnn", "coco_mask_rcnn"])
def test_schedules_of_coco_are_those_of_table_7(recipe: str) -> None:
    table = {1: (60, 80, 90), 2: (120, 160, 180), 3: (210, 250, 270), 6: (420, 500, 540)}
    for (row, place), cell in by_column(schedule.SWEEP, recipe).items():
        *decays, steps = (1000 * number for number in table[place])
        train, optim = cell.config.train, cell.config.optim
        assert (train.steps, [milestone * steps for milestone in optim.milestones]) == (steps, pytest.approx(decays))
        factors = [learning_rate_factor(optim, step, steps) for step in (0, 999, 1000, *decays)]
        assert factors == pytest.approx([1e-3, 1.0, 1.0, 0.1, 0.01]), row
        assert [learning_rate_factor(optim, step - 1, steps) for step in decays] == pytest.approx([1.0, 0.1])


def test_detectors_run_the_sweeps_of_the_papers_coco_tables() -> None:
    coco = {name for name, sweep in sweeps().items() if "coco_faster_rcnn" in recipes_for(sweep)}
    assert coco == {
        "operator", "kernel_size", "stage", "shift_distance", "position_encoding", "schedule", "controls", "efficiency",
        "learning_rate",
    }  # fmt: skip
    for name in coco:
        plan = {
            recipe: describe_cells(sweeps()[name], get_recipe(recipe), cells_of(sweeps()[name], recipe), smoke=False)
            for recipe in ("match_small", "shapes_faster_rcnn", "shapes_mask_rcnn")
        }
        top1 = "val_top1" if name == "learning_rate" else "top1"
        assert [plan[recipe]["metric"] for recipe in plan] == [top1, "box_ap", "mask_ap"]


def test_backbones_are_small_only_on_the_small_recipes() -> None:
    for recipe in recipes_for(backbone.SWEEP):
        small = get_recipe(recipe).config().backbone.name == "small_resnet"
        for (_, name), cell in by_column(backbone.SWEEP, recipe).items():
            assert cell.config.backbone.name == ("small_" if small else "") + name
            assert cell.config.backbone.stages == get_recipe(recipe).config().backbone.stages
    cifar = by_column(backbone.SWEEP, "cifar10_resnet18")
    assert cifar["convolution", "resnet101"].config.backbone.options == {"stem": "small"}


def test_reading_a_keeps_the_dilated_branch() -> None:
    cells = by_column(kernel_size.READING_A)
    assert list(kernel_size.READING_A.rows) == ["multi_convolution", "xvolution", "xvolution_static"]
    assert {options(cell)["dilated_kernel_size"] for cell in cells.values()} == {5}
    assert {place: options(cell)["kernel_size"] for (_, place), cell in cells.items()} == {
        size: size for size in (1, 3, 5, 7, 9)
    }
    assert kernel_size.READING_A.baseline == "multi_convolution"
    assert kernel_size.SWEEP.readings == {"A": kernel_size.READING_A}


def test_the_forms_of_pssa_differ_as_their_rows_and_columns_say() -> None:
    cells = by_column(pssa_form.SWEEP)
    rows = [row for row in pssa_form.SWEEP.rows if row != "convolution"]
    forms = {options(cells[row, "raw"])["form"] for row in rows}
    assert forms == {"dot", "hadamard", "hadamard_no_value", "dense", "static", "static_channel", "static_dense"}
    for (row, variant), cell in cells.items():
        if row == "convolution":
            continue
        chosen = options(cell)
        static = chosen["form"].startswith("static")
        assert chosen["normalize"] == (None if static else {"raw": False, "normalised": True}.get(variant))
        assert (chosen["centre"], chosen["propagate"]) == (variant == "centre", variant == "propagate")
        if chosen["form"] in ("dot", "static") or (chosen["form"] == "hadamard" and variant != "raw"):
            heads = row.replace("_static", "").rsplit("_", 1)[1]
            size = {"1": (None, 1), "8": (None, 8), "hadamard": (None, 8), "all": (1, None)}[heads]
            assert (chosen["num_heads"], chosen["head_channels"]) == size
