"""`--set ROW:optim.lr=0.03` gives one row a learning rate of its own, and leaves the comparison of rows fair."""

from __future__ import annotations

import pytest

from ablations import controls, learning_rate, operator, position_encoding
from ablations.engine.cells import make_cells
from ablations.engine.options import Options, read_options
from ablations.engine.plan import write_plan
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.schema import set_value
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files

RECIPE = get_recipe("fashion_small")
TUNED = {"pssa:optim.lr": 0.03, "pssa_static:optim.lr": 0.03, "self_attention:optim.lr": 0.3}


def settings(given: dict[str, object]) -> list[tuple[str, str]]:
    return read_options({"settings": given}).changes()


def test_only_the_named_rows_have_the_value() -> None:
    plain = make_cells(operator.SWEEP, RECIPE, 2)
    for shared in ({}, {"optim.lr": 0.2}):
        for cell, before in zip(make_cells(operator.SWEEP, RECIPE, 2, settings(shared | TUNED)), plain, strict=True):
            rate = TUNED.get(f"{cell.row}:optim.lr", shared.get("optim.lr", 0.1))
            assert cell.config == set_value(before.config, "optim.lr", rate)


def test_the_cells_are_those_of_the_sweep_that_chose_the_rate() -> None:
    tried = {(cell.row, cell.axes["learning_rate"]): cell.id for cell in make_cells(learning_rate.SWEEP, RECIPE, 1)}
    cells = {cell.row: cell.id for cell in make_cells(operator.SWEEP, RECIPE, 1, settings(TUNED))}
    assert cells == {row: tried[row, TUNED.get(f"{row}:optim.lr", 0.1)] for row in cells}


def test_an_added_row_and_a_smoke_run_take_it_too() -> None:
    given = settings({"operator.name": "wide_convolution", "wide_convolution:optim.lr": 0.02})
    rates = {cell.row: cell.config.optim.lr for cell in make_cells(operator.SWEEP, RECIPE, 1, given, smoke=True)}
    assert rates.pop("wide_convolution") == 0.02 and set(rates.values()) == {0.1}


def test_the_plan_names_the_settings(tmp_path) -> None:
    options = Options(settings=settings(TUNED), out=tmp_path)
    write_plan(operator.SWEEP, RECIPE, make_cells(operator.SWEEP, RECIPE, 1, options.changes()), options)
    assert files.read_json(tmp_path / "operator" / "cells.json")["settings"] == [
        f"{path}={value}" for path, value in TUNED.items()
    ]


def test_equal_values_may_be_written_in_two_ways() -> None:
    make_cells(operator.SWEEP, RECIPE, 1, settings({"pssa:optim.lr": "3e-2", "pssa_static:optim.lr": "0.030"}))


@pytest.mark.parametrize(
    ("sweep", "given", "told"),
    [
        (operator.SWEEP, {"xvolutoin:optim.lr": 0.3}, "no row 'xvolutoin' (did you mean 'xvolution'?)"),
        (operator.SWEEP, {"pssa:optim.lr": 0.3}, "pssa and its control pssa_static must have the same"),
        (operator.SWEEP, {"pssa_static:optim.lr": 0.3}, "--set pssa_static:optim: pssa and its control"),
        (controls.SWEEP, {"xvolution:optim.lr": 0.3, "xvolution_static:optim.lr": 0.3}, "xvolution_softmax and its"),
        (position_encoding.SWEEP, TUNED, "no row 'self_attention'"),
        (operator.SWEEP, {"convolution:train.epochs": 3}, "fields of optim alone"),
        (operator.SWEEP, {"convolution:data.batch_size": 3}, "fields of optim alone"),
        (operator.SWEEP, {"convolution:operator.kernel_size": 5}, "fields of optim alone"),
        (operator.SWEEP, {"convolution:optim.l": 3}, "no field 'optim.l'"),
        (operator.SWEEP, {"convolution:optim.lr": "x"}, "optim.lr=x must be a finite number"),
        (learning_rate.SWEEP, {"operator.name": "se_convolution", "se_convolution:optim.lr": 1}, "would override what"),
        (learning_rate.SWEEP, {"convolution:optim.lr": 1}, "would override what the axes of this sweep vary"),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_what_would_make_a_table_unfair_or_means_nothing_is_one_sentence(sweep, given, told) -> None:
    with pytest.raises(UserError) as refused:
        make_cells(sweep, RECIPE, 1, settings(given))
    assert told in str(refused.value) and "\n" not in str(refused.value)
