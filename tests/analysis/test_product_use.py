"""The rows of the probes that show whether the product is used."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
from scipy import stats

from analysis.render import load_sweep
from analysis.sweep.table import sweep_table

SCORES = {
    "convolution": {1: [24.0, 26.0], 3: [70.0, 72.0]},
    "xvolution": {1: [97.0, 99.0], 3: [98.0, 99.0]},
}
ABLATED = {("mean_ablated", 1): [25.0, 27.0], ("q_shuffled", 1): [60.0, 61.0], ("mean_ablated", 3): [80.5, 80.5]}


@pytest.fixture
def runs(make_ledger):
    """Two seeds. X-volution has both probes at kernel size 1 and one at 3; the convolution has none."""
    made = make_ledger(SCORES, controls={})
    for seed in (0, 1):
        for size in (1, 3):
            value = SCORES["xvolution"][size][seed]
            metrics = {"top1": {"last": value, "best": value, "best_epoch": 2}}
            for (name, at), values in ABLATED.items():
                if at == size:
                    metrics[f"top1_{name}"] = {"last": values[seed], "best": values[seed], "best_epoch": 3}
            made.write(made.cell("xvolution", size, seed), value, metrics=metrics)
    return made


def table_of(runs):
    return sweep_table(load_sweep(runs.out, "kernel_size"))


def test_the_probes_have_rows_below_the_accuracies(runs):
    lines = table_of(runs).to_markdown().splitlines()
    start = next(number for number, line in enumerate(lines) if "Is the product used?" in line)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 1 : start + 3]]
    assert cells == [
        ["X-volution, mean coefficients", "25.0, 27.0", "80.5, 80.5"],
        ["X-volution, q of another image", "60.0, 61.0", "–"],
    ]
    assert sum("Only a trained control can show" in line for line in lines) == 1


def test_the_csv_has_rows_of_each_probe_with_the_fall_from_the_intact_network(runs):
    table = pd.read_csv(io.StringIO(table_of(runs).to_csv()))
    assert table["metric"].value_counts().to_dict() == {"top1": 4, "top1_mean_ablated": 2, "top1_q_shuffled": 1}
    found = table.set_index(["metric", "operator", "kernel_size"])
    first, second = found.loc[("top1_mean_ablated", "xvolution", 1)], found.loc[("top1_mean_ablated", "xvolution", 3)]
    assert (first["mean"], first["n"], first["delta"]) == (26.0, 2, 26.0 - 98.0)
    assert first["delta_method"] == "none", "the two falls are equal, so that nothing has an error"
    assert (second["sd"], second["delta"], second["delta_method"]) == (0, -18.0, "paired")
    expected = stats.ttest_rel([80.5, 80.5], [98.0, 99.0])
    assert second["delta_p"] == pytest.approx(expected.pvalue) and not second["resolved"]


def test_fewer_seeds_than_the_accuracy_has_are_counted(runs):
    runs.write(runs.cell("xvolution", 1, 1), 99.0)  # a record from before these metrics
    assert "25.0 (n = 1)" in table_of(runs).to_markdown()


def test_a_table_of_costs_has_the_probes_in_the_column_of_its_metric(runs):
    runs.sweep |= {"axes": [], "figure": None}
    runs.sweep["cells"] = [{**cell, "axes": {}} for cell in runs.cells if cell["axes"] == {"kernel_size": 1}]
    runs.write_sweep()
    lines = table_of(runs).to_markdown().splitlines()
    [line] = [line for line in lines if "mean coefficients" in line and line.startswith("|")]
    assert [cell.strip() for cell in line.strip("|").split("|")][1:] == ["25.0, 27.0", "–", "–", "–"]


def test_records_without_probes_leave_no_trace(make_ledger):
    table = table_of(make_ledger(SCORES, controls={}))
    assert "product" not in table.to_markdown() and "mean_ablated" not in table.to_csv()


def test_the_fine_tuned_network_has_a_row_below_the_one_that_it_started_from(runs):
    for seed, value in enumerate((90.0, 92.0)):
        path = runs.folder("xvolution", 1, seed) / "result.json"
        result = json.loads(path.read_text())
        result["metrics"]["top1_mean_finetuned"] = {"last": value, "best": value, "best_epoch": 3}
        path.write_text(json.dumps(result))
    table = table_of(runs)
    lines = [line for line in table.to_markdown().splitlines() if line.startswith("| X-volution, ")]
    assert [line.split("|")[1].strip() for line in lines] == [
        "X-volution, mean coefficients", "X-volution, mean coefficients, fine-tuned", "X-volution, q of another image",
    ]  # fmt: skip
    assert "| 90.0, 92.0" in lines[1]
    assert table.to_markdown().count("further training of all its weights") == 1
    found = pd.read_csv(io.StringIO(table.to_csv())).set_index("metric").loc["top1_mean_finetuned"]
    assert (found["mean"], found["n"], found["delta"]) == (91.0, 2, 91.0 - 98.0)
