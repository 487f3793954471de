"""`table.csv` has a row for every group and metric, with the same statistics for each."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest

from analysis import load_sweep, render_table
from analysis.statistics import PRECISION, contrast, estimates
from tests.analysis.paper_runs import write_sweep

SIZES = ("", "50", "75", "_s", "_m", "_l")
METRICS = [f"{kind}_ap{size}" for kind in ("box", "mask") for size in SIZES]
ROWS = ["convolution", "pssa", "xvolution", "self_attention", "involution"]


def value(row: str, metric: str, seed: int) -> float:
    return round(20 + 3 * ROWS.index(row) + METRICS.index(metric) + 0.3 * seed * (1 + ROWS.index(row)), 4)


@pytest.fixture
def lines(tmp_path: Path) -> list[dict[str, str]]:
    """The CSV of a sweep on masks, with a row that has not been run."""
    rows = [(row, {}, {metric: value(row, metric, 0) for metric in METRICS}) for row in ROWS]
    write_sweep(
        tmp_path, "operator", "shapes_mask_rcnn", rows, lambda row, seed: 0.3 * seed * (1 + ROWS.index(row)), seeds=3
    )
    sweep = load_sweep(tmp_path, "operator")
    lost = sweep.frame[sweep.frame["operator"] == "involution"]["cell_id"].unique()
    for cell in lost:
        (tmp_path / "cells" / cell / "result.json").unlink()
    return list(csv.DictReader(render_table(load_sweep(tmp_path, "operator"), "csv").splitlines()))


def test_masks_have_all_twelve_metrics_of_boxes_and_masks(lines: list[dict[str, str]]) -> None:
    found = [(line["metric"], line["operator"]) for line in lines]
    assert sorted(found) == sorted(itertools.product(METRICS, ROWS)) and len(set(found)) == len(found)
    assert lines[0]["metric"] == "mask_ap", "the sweep's own comes first"
    for line in lines:
        assert line["planned"] == "3" and line["n"] == ("0" if line["operator"] == "involution" else "3")


def test_every_metric_has_its_own_statistics(lines: list[dict[str, str]]) -> None:
    for metric in METRICS:
        own = {line["operator"]: line for line in lines if line["metric"] == metric and line["n"] != "0"}
        samples = [[value(row, metric, seed) for seed in range(3)] for row in own]
        images = [500] * len(samples)
        found = dict(zip(own, estimates(samples, PRECISION, images)[0], strict=True))
        for row, line in own.items():
            expected = found[row]
            assert float(line["mean"]) == pytest.approx(expected.mean)
            assert float(line["sd"]) == pytest.approx(expected.sd)
            assert float(line["lowest"]) == expected.lowest
            # The number of images matters only where a spread is below their resolution.
            assert float(line["ci_low"]) == pytest.approx(expected.low, abs=1e-6)
        assert contrast([(1.0, found["pssa"]), (-1.0, found["convolution"])]).mean == pytest.approx(
            float(own["pssa"]["mean"]) - float(own["convolution"]["mean"])
        )
