"""The sweep `fine_tuning` adds cells for the rows with a product alone."""

from __future__ import annotations

import pytest

from ablations import fine_tuning, operator
from ablations.engine.cells import make_cells
from ablations.engine.sweep import recipes_for
from lightning_xvol.config.recipes import get_recipe


@pytest.mark.parametrize("recipe", recipes_for(fine_tuning.SWEEP))
def test_rows_without_a_product_are_cells_of_the_sweep_operator(recipe: str) -> None:
    ours, others = (
        {cell.row: cell.config for cell in make_cells(sweep, get_recipe(recipe), 1)}
        for sweep in (fine_tuning.SWEEP, operator.SWEEP)
    )
    assert set(ours) == {"convolution", "pssa", "pssa_static", "xvolution", "xvolution_static"}
    for row, config in ours.items():
        assert (config.cell_id == others[row].cell_id) == (row not in ("pssa", "xvolution"))
        assert config.optimisation_id == others[row].optimisation_id


def test_the_field_changes_only_rows_with_a_product_in_any_sweep() -> None:
    cells = make_cells(operator.SWEEP, get_recipe("match_small"), 1)
    tuned = make_cells(operator.SWEEP, get_recipe("match_small"), 1, [("train.finetune_ablated", "0.1")])
    changed = {cell.row for cell, other in zip(cells, tuned, strict=True) if cell.id != other.id}
    assert changed == {"pssa", "xvolution"}
