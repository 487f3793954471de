"""The sweep of accuracy against cost: its rows, and a table and a figure of a sweep without axes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from ablations.efficiency import SWEEP
from ablations.engine.cells import make_cells
from ablations.engine.sweep import recipes_for
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import get_recipe


@pytest.mark.parametrize("recipe", recipes_for(SWEEP))
def test_every_operator_has_a_row_and_attention_its_control(recipe: str) -> None:
    cells = make_cells(SWEEP, get_recipe(recipe), seeds=1)
    assert [cell.row for cell in cells if not cell.row.endswith("_static")] == list(registry.OPERATORS)
    assert [cell.name for cell in cells][5:9] == [
        "pssa seed=0", "pssa_static seed=0", "xvolution seed=0", "xvolution_static seed=0",
    ]  # fmt: skip
    options = {cell.row: cell.config.operator.options for cell in cells}
    for row in ("pssa", "xvolution"):
        assert options[f"{row}_static"] == {**options[row], "form": "static"}
    assert len({cell.group for cell in cells}) == len(cells) == len(SWEEP.rows)


def test_a_smoke_run_shows_the_cost_of_every_operator_that_ran(make_bench: Any, tmp_path: Path) -> None:
    bench = make_bench(tmp_path)
    bench.sweep = "efficiency"
    rows = "operator=convolution,xvolution,xvolution_static"
    ended = bench.here(*bench.quick, "--only", rows)
    assert ended.code == 0, ended
    folder = bench.out / "efficiency"
    with (folder / "table.csv").open(newline="") as file:
        table = {row["operator"]: row for row in csv.DictReader(file)}
    assert list(table) == list(SWEEP.rows)
    for result in bench.ledger.results().values():
        name, form = result["config"]["operator"]["name"], result["config"]["operator"]["options"].get("form")
        row = table[f"{name}_static" if form == "static" else name]
        assert (int(row["params"]), int(row["macs"])) == (result["params"], result["macs"])
        assert float(row["wall_seconds"]) == pytest.approx(result["wall_seconds"])
    assert table["involution"]["n"] == "0" and table["involution"]["macs"] == ""
    assert "parameters" in ended.out
    assert "Against its control" not in ended.out, "one run has no difference"
    assert imread(folder / "figure.png").std() > 0.05  # something is drawn
