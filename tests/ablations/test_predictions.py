"""The confusion matrix of cells that were really trained, against their records and their data."""

from __future__ import annotations

import json

import pandas as pd
from sweep_bench import Ledger

from analysis.output.confusion import render_confusion


def test_a_matrix_adds_up_to_its_test_draw_and_its_trace_to_its_accuracy(undisturbed: Ledger, tmp_path) -> None:
    plan = json.loads((undisturbed.out / "kernel_size" / "cells.json").read_text())
    results = undisturbed.results()
    render_confusion(undisturbed.out, "kernel_size", tmp_path)
    checked = 0
    for cell in plan["cells"]:
        result = results.get(cell["cell_id"])
        if result is None:
            continue
        assert cell["seed"] == 0 and result["config"]["data"]["name"] == "match"
        data = result["config"]["data"]
        drawn = min(data["options"]["test_size"], data["limit"] or data["options"]["test_size"])
        size = cell["axes"]["kernel_size"]
        matrix = pd.read_csv(tmp_path / "kernel_size" / f"confusion-{cell['operator'].replace('_', '-')}-{size}.csv")
        assert matrix["images"].sum() == drawn
        right = matrix.loc[matrix["label"] == matrix["predicted"], "images"].sum()
        assert round(100 * right / drawn, 4) == result["metrics"]["top1"]["last"]
        checked += 1
    assert checked == len(results) > 1
