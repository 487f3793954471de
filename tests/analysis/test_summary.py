"""The summary counts cells by state, and names the best row of each sweep with its difference from the baseline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.sources.collection import Collection
from analysis.sweep.overview import overviews

SMALL = {"convolution": {3: [70.0, 70.4, 71.2]}, "xvolution": {3: [97.9, 98.5, 99.1]}}


def test_the_summary_names_counts_best_rows_controls_and_warnings(
    make_ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = make_ledger(beside={})
    runs.lose("convolution", 1, 0)
    runs.lose("convolution", 9, 0)
    (runs.folder("convolution", 9, 0) / "failure.json").write_text(json.dumps({"error": "out of memory"}))
    runs.diverge("convolution", 5, 2)
    assert main(["summary", "--source", str(runs.out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["sweep", "finished", "missing", "failed", "diverged", "time"]
    assert lines[2].split() == ["kernel_size", "42/45", "1", "1", "1", "6", "min", "48", "s"]  # 43 records of 9.5 s
    text = " ".join(" ".join(lines).split())
    assert "best: X-volution (static), kernel size K = 7: 99.8 ± 0.1 (n = 3); +0.9 [" in text
    assert "] over Convolution, not resolved" in text
    assert "control: X-volution minus X-volution (static): is not resolved at 1 (a gain above " in text
    assert "printed numbers: 3 contradicted by its own table" in text
    assert "match-to-sample (match_small, 3 epochs): " in text
    assert "warning: 1 failed cell:" in text
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize(
    ("change", "best", "difference"),
    [
        ({}, "X-volution, kernel size K = 3: 98.5 ± 0.6 (n = 3)", "+28.0 [+26.6, +29.3] over Convolution, resolved"),
        ({"baseline": None}, "X-volution, kernel size K = 3: 98.5 ± 0.6 (n = 3)", "–"),
        ({"baseline": "left_out"}, "X-volution, kernel size K = 3: 98.5 ± 0.6 (n = 3)", "–"),
        ({"baseline": "xvolution"}, "X-volution, kernel size K = 3: 98.5 ± 0.6 (n = 3)", "X-volution is the baseline"),
    ],
)
def test_the_best_row_is_compared_with_the_baseline(make_ledger, change, best: str, difference: str) -> None:
    ((found,), problems) = overviews(Collection([make_ledger(SMALL, **change).out]))
    assert (found.best_text(), found.difference_text(), problems) == (best, difference, [])


def test_a_sweep_without_finished_runs_says_so(make_ledger) -> None:
    runs = make_ledger(SMALL)
    for cell in runs.cells:
        runs.lose(cell["operator"], 3, cell["seed"])
    ((found,), _) = overviews(Collection([runs.out]))
    assert (found.best_text(), found.difference_text(), found.seconds) == ("no finished run", "–", 0.0)
    assert found.warnings() == ["6 of 6 cells missing"]


def test_a_cell_of_two_sweeps_is_counted_once(make_ledger, capsys: pytest.CaptureFixture[str]) -> None:
    runs = make_ledger(SMALL)
    runs.sweep["sweep"] = "other"
    runs.write_sweep()
    main(["summary", "--source", str(runs.out)])
    *_, total = [line for line in capsys.readouterr().out.splitlines() if line.startswith("all runs")]
    assert total.split() == ["all", "runs", "6/6", "0", "0", "0", "57", "s"]


def test_each_recipe_of_a_sweep_has_an_overview(make_ledger, tmp_path: Path) -> None:
    first = make_ledger(SMALL).out
    runs = make_ledger(SMALL)
    runs.out = tmp_path / "others"
    runs.sweep |= {"recipe": "digits_small", "data": "digits"}
    runs.write_sweep()
    for cell in runs.cells:
        runs.write(cell, 50.0)
    found, _ = overviews(Collection([first, tmp_path / "others"]))
    assert [item.layout.recipe for item in found] == ["match_small", "digits_small"]
