"""The cells that a command line makes, without running any."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import ablations.__main__
from ablations.engine.cells import make_cells
from ablations.engine.selection import select
from ablations.engine.sweep import Cell, recipes_for, text
from ablations.kernel_size import SWEEP
from lightning_xvol.commandline import setting
from lightning_xvol.config.recipes import RECIPES, get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.errors import UserError

ROWS = ("convolution", "xvolution", "xvolution_static")
SWEEPS = ablations.__main__.sweeps()


def cells_of(*settings: str, seeds: int = 2, smoke: bool = False, recipe: str = "match_small") -> list[Cell]:
    return make_cells(SWEEP, get_recipe(recipe), seeds, [setting(text) for text in settings], smoke)


def names(cells: Sequence[Cell]) -> list[str]:
    return [cell.name for cell in cells]


def option(cell: Cell, name: str) -> Any:
    return cell.config.operator.options.get(name)


def test_cells_are_ordered_by_row_then_axis_then_seed() -> None:
    expected = [f"{row} kernel_size={size} seed={seed}" for row in ROWS for size in (1, 3, 5, 7, 9) for seed in (0, 1)]
    assert names(cells_of()) == expected


def test_ids_are_unique_and_stable() -> None:
    first, second = cells_of(), cells_of()
    assert len({cell.id for cell in first}) == 30
    assert [cell.id for cell in first] == [cell.id for cell in second]
    assert [cell.id for cell in cells_of(seeds=1)] == [cell.id for cell in first if cell.config.seed == 0]


def test_the_seeds_of_a_group_differ_in_nothing_else() -> None:
    groups: dict[str, list[Cell]] = {}
    for cell in cells_of(seeds=3):
        groups.setdefault(cell.group, []).append(cell)
    assert len(groups) == 15
    for members in groups.values():
        assert [cell.config.seed for cell in members] == [0, 1, 2]
        assert len({(cell.row, cell.axes["kernel_size"]) for cell in members}) == 1


@pytest.mark.parametrize("recipe", recipes_for(SWEEPS["kernel_size"]))
def test_the_rows_of_the_kernel_size_sweep_differ_in_the_attention_branch_alone(recipe: str) -> None:
    by_row: dict[str, dict[int, Cell]] = {}
    for cell in cells_of(seeds=1, recipe=recipe):
        by_row.setdefault(cell.row, {})[cell.axes["kernel_size"]] = cell
    assert tuple(by_row) == ROWS
    for size in (1, 3, 5, 7, 9):
        convolution, full, static = (by_row[row][size] for row in ROWS)
        assert convolution.config.operator.name == "convolution"
        assert full.config.operator.name == static.config.operator.name == "xvolution"
        assert [option(cell, "kernel_size") for cell in (convolution, full, static)] == [size] * 3
        assert option(full, "dilated_kernel_size") is None and option(static, "dilated_kernel_size") is None
        assert (option(full, "form"), option(static, "form")) == ("dot", "static")
        differing = {
            key
            for key, value in full.config.operator.options.items()
            if key not in ("form", "normalize") and value != option(static, key)
        }
        assert not differing, "the control has the same taps and heads"
        assert option(full, "shift_distances") == (1, 3, 5)
        for cell in (full, static):
            for section in ("backbone", "data", "optim", "train"):
                assert getattr(cell.config, section) == getattr(convolution.config, section)


@pytest.mark.parametrize(
    ("only", "count", "expected"),
    [
        ({"operator": ["xvolution"]}, 10, "xvolution kernel_size=1 seed=0"),
        ({"kernel_size": ["9", "3"]}, 12, "convolution kernel_size=3 seed=0"),
        ({"seed": ["1"]}, 15, "convolution kernel_size=1 seed=1"),
        ({"operator": ["xvolution_static"], "kernel_size": ["5"], "seed": ["1"]}, 1, None),
    ],
)
def test_only_selects_cells_and_changes_none(only: dict[str, list[str]], count: int, expected: str | None) -> None:
    chosen = select(cells_of(), only)
    assert len(chosen) == count
    assert names(chosen)[0] == (expected or "xvolution_static kernel_size=5 seed=1")
    kept = {name for name in names(cells_of()) if name in names(chosen)}
    for cell in chosen:
        values = {"operator": cell.row, "kernel_size": str(cell.axes["kernel_size"]), "seed": str(cell.config.seed)}
        assert all(values[key] in wanted for key, wanted in only.items())
    assert len(kept) == count, "a selection changes no cell"


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ({"operator": ["xvoluton"]}, ("xvoluton", "did you mean 'xvolution'", "convolution")),
        ({"kernel_size": ["4"]}, ("kernel_size=4", "1, 3, 5, 7, 9")),
        ({"seed": ["2"]}, ("seed=2", "0, 1")),
        ({"kernel": ["3"]}, ("kernel", "did you mean 'kernel_size'", "operator", "seed")),
    ],
)
def test_only_names_the_values_that_there_are(only: dict[str, list[str]], words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as error:
        select(cells_of(), only)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_set_touches_only_the_rows_that_have_the_option() -> None:
    plain, changed = cells_of(), cells_of("operator.num_heads=2")
    assert {option(cell, "num_heads") for cell in changed if cell.row != "convolution"} == {2}
    for before, after in zip(plain, changed, strict=True):
        assert (before.id == after.id) == (before.row == "convolution")
    assert not any("num_heads" in cell.config.operator.options for cell in changed if cell.row == "convolution")


def test_set_on_any_other_field_touches_every_cell() -> None:
    plain, changed = cells_of(), cells_of("optim.lr=0.05")
    assert {cell.config.optim.lr for cell in changed} == {0.05}
    assert not {cell.id for cell in plain} & {cell.id for cell in changed}


def test_a_field_that_no_result_depends_on_leaves_the_ids() -> None:
    assert [cell.id for cell in cells_of("data.workers=2", "train.checkpoint_every=7")] == [
        cell.id for cell in cells_of()
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("operator.num_head=2", ("num_head", "did you mean 'num_heads'")),
        ("optim.learning_rate=2", ("optim.learning_rate",)),
        ("optm.lr=0.1", ("optm.lr", "did you mean 'optim'")),
        ("train.steps=2.5", ("train.steps=2.5", "whole number")),
        ("seed=3", ("--seeds",)),
        ("operator.kernel_size=3", ("operator.kernel_size", "--only")),
        ("operator.options.kernel_size=3", ("operator.options.kernel_size", "--only")),
        ("operator.name=xvolutoin", ("xvolutoin", "did you mean 'xvolution'")),
    ],
)
def test_set_names_the_mistake(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UserError) as error:
        cells_of(text)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_operator_by_import_path_is_a_row() -> None:
    path = "faulty_operators:Sound"
    plain, cells = cells_of(), cells_of(f"operator.name={path}")
    assert [cell.id for cell in cells[: len(plain)]] == [cell.id for cell in plain], "the other rows stay as they are"
    extra = cells[len(plain) :]
    assert names(extra) == [f"Sound kernel_size={size} seed={seed}" for size in (1, 3, 5, 7, 9) for seed in (0, 1)]
    assert {cell.config.operator.name for cell in extra} == {path}
    assert [option(cell, "kernel_size") for cell in extra[::2]] == [1, 3, 5, 7, 9]
    assert len({cell.id for cell in extra}) == 10


def test_a_registered_operator_without_the_axis_shares_one_cell_over_it() -> None:
    extra = [cell for cell in cells_of("operator.name=pssa") if cell.row == "pssa"]
    assert len(extra) == 10
    assert len({cell.id for cell in extra}) == 2, "one for each seed, at all kernel sizes"


def test_smoke_is_a_small_budget_with_other_ids() -> None:
    for recipe in recipes_for(SWEEPS["kernel_size"]):
        plain, smoke = cells_of(recipe=recipe), cells_of(recipe=recipe, smoke=True)
        assert names(plain) == names(smoke)
        assert not {cell.id for cell in plain} & {cell.id for cell in smoke}
        for cell in smoke:
            assert (cell.config.train.steps or 0) >= 20
            assert cell.config.train.checkpoint_every == 5
            assert cell.config.data.limit is not None and cell.config.data.limit <= 256
            assert cell.config.data.batch_size <= cell.config.data.limit
            assert cell.config.operator == next(one for one in plain if one.name == cell.name).config.operator


def test_the_rows_of_a_sweep_include_its_baseline_and_controls() -> None:
    assert "kernel_size" in SWEEPS
    for name, sweep in SWEEPS.items():
        assert sweep.name == name
        assert sweep.baseline in sweep.rows
        assert {sweep.baseline, *sweep.controls, *itertools.chain(*sweep.controls.values())} <= set(sweep.rows)
        assert set(sweep.paper) <= set(sweep.axes)


@pytest.mark.parametrize(
    ("name", "recipe"), [(name, recipe) for name in SWEEPS for recipe in recipes_for(SWEEPS[name])]
)
def test_the_dry_run_of_every_sweep_lists_its_cells(name: str, recipe: str, bench: Any) -> None:
    bench.sweep, sweep = name, SWEEPS[name]
    ended = bench.here("--recipe", recipe, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    places = [dict(zip(sweep.axes, values, strict=True)) for values in itertools.product(*sweep.axes.values())]
    expected = [
        " ".join([row, *(f"{axis}={text(value)}" for axis, value in place.items()), f"seed={seed}"])
        for row in sweep.rows
        for place in places
        for seed in range(RECIPES[recipe].seeds)
    ]
    *lines, last = ended.out.splitlines()
    assert [line.split(maxsplit=2)[2] for line in lines] == expected
    assert {line.split(maxsplit=2)[1] for line in lines} == {"missing"}
    count = len({line.split()[0] for line in lines})
    assert recipe in last and f"{count} cells" in last and f"{count} missing" in last
    assert (f"{len(expected)} positions" in last) == (count < len(expected))
    assert not bench.out.exists()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.startswith("approximation") else ()) for name in SWEEPS]
)
def test_every_cell_of_a_sweep_can_be_built(name: str, tmp_path: Path) -> None:
    """The check that a sweep makes before it writes anything."""
    from ablations.engine.cell import SweepContext, preflight

    cells = make_cells(SWEEPS[name], get_recipe(SWEEPS[name].recipe), seeds=1)
    preflight([cell.config for cell in cells], SweepContext(tmp_path, "sweep", None, False, "disabled", "project"))


def test_a_cell_of_two_columns_runs_once(bench: Any) -> None:
    """A convolution has no shift distances: it is the same run at all of them."""
    bench.sweep = "shift_distance"
    only = ("--only", "shift_distances=1,3", "--only", "operator=convolution")
    ended = bench.here(*bench.quick, *only, "--jobs", "2")
    assert ended.code == 0
    assert "1 cells, 0 done, 1 to run" in ended.out
    assert ended.err.count("[1/1]") == 1 and len(ended.err.splitlines()) == 1
    assert len(bench.ledger.ids()) == 1
    tidy = (bench.out / "shift_distance" / "table.csv").read_text().splitlines()
    shared = [line.split(",")[2:6] for line in tidy if line.startswith(("convolution,1,", "convolution,3,"))]
    assert len(shared) == 2 and shared[0] == shared[1], "both columns show it"


def test_the_check_before_a_sweep_says_which_taps_can_never_be_inside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ablations.engine.cell import SweepContext, preflight

    configs = [resolve(get_recipe("match_small").config(name)) for name in ("convolution", "pssa", "xvolution")]
    preflight(configs, SweepContext(tmp_path, "sweep", None, False, "disabled", "project"))
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "note: stage 5, map 4 x 4: 16 of 24 shifts can be inside the map, none at distance 5",
        "note: stage 5, map 4 x 4: 9 of 25 taps of the 5x5, dilation 2 can be inside the map, none at distance 4",
    ]
