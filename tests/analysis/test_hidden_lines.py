"""Rows and columns without a finished run of their own are no part of a table; one sentence counts them."""

from __future__ import annotations

import csv
import itertools
import json
import random

import pytest

from analysis import load_sweep, render_table, write_report
from analysis.output.sweep import render_figures
from analysis.render import TABLE_FORMATS
from analysis.sources.collection import Collection
from analysis.sweep.figures import NothingToDrawError, figure, plotted
from analysis.sweep.table import sweep_table
from tests.analysis.conftest import SCORES
from tests.analysis.paper_runs import write_sweep


def lose(runs, kept) -> None:
    for operator, size, seed in itertools.product(SCORES, SCORES["convolution"], range(3)):
        if (operator, size) not in kept:
            runs.lose(operator, size, seed)


def test_a_sweep_of_some_rows_and_columns_shows_these_alone(make_ledger, tmp_path) -> None:
    runs = make_ledger(SCORES)
    lose(runs, {("xvolution", 3), ("xvolution", 5)})
    sweep = load_sweep(runs.out, "kernel_size")
    sentence = (
        "Not shown: 2 rows and 3 columns without a finished run of their own; 39 of 45 runs are left. The CSV lists "
        "all."
    )
    for format in set(TABLE_FORMATS) - {"csv"}:
        text = render_table(sweep, format)
        assert " ".join(sentence.split()) in " ".join(text.split())
        assert "n = 0" not in text and "Convolution" not in text.split("Estimator")[0]
    page = write_report(runs.out, tmp_path / "report.html").read_text()
    assert sentence in page and "n = 0" not in page.split("<table")[1].split("</table>")[0]
    lines = list(csv.DictReader(render_table(sweep, "csv").splitlines()))
    assert len([line for line in lines if line["metric"] == "top1"]) == 15


@pytest.mark.parametrize("seed", range(8))
def test_a_line_is_shown_if_and_only_if_a_run_of_it_has_a_result(make_ledger, seed: int) -> None:
    draw = random.Random(seed)
    runs = make_ledger(SCORES)
    places = list(itertools.product(SCORES, SCORES["convolution"]))
    kept = set(draw.sample(places, draw.randint(1, 5)))
    lose(runs, kept)
    gone = draw.choice(sorted(kept))
    for number in range(3):
        runs.diverge(*gone, number)
    table = sweep_table(load_sweep(runs.out, "kernel_size"))
    labels = {cell["label"] for cell in runs.cells if any(cell["operator"] == row for row, _ in kept)}
    assert {label for block in table.blocks for label, _ in block.rows} == labels
    assert set(table.columns) == {str(size) for _, size in kept}
    assert any("diverged 3 of 3" in cell.remarks for cell in table.cells), "what diverged has a result"
    sentences = [note for note in table.notes if note.startswith("Not shown: ")]
    some_hidden = len(labels) < 3 or len(table.columns) < 5
    assert len(sentences) == some_hidden
    assert all(f"{45 - 3 * len(kept)} of 45 runs are left" in sentence for sentence in sentences)


def test_a_whole_table_and_an_empty_one_say_nothing_of_hidden_lines(make_ledger) -> None:
    runs = make_ledger(SCORES)
    assert "Not shown" not in render_table(load_sweep(runs.out, "kernel_size"))
    lose(runs, set())
    text = render_table(load_sweep(runs.out, "kernel_size"))
    assert "Not shown" not in text and text.count("n = 0)") == 15


def test_the_sentence_counts_what_was_asked_for(make_ledger) -> None:
    runs = make_ledger(SCORES)
    lose(runs, {("xvolution", 3), ("convolution", 3)})
    text = render_table(load_sweep(runs.out, "kernel_size", only={"operator": ["xvolution"]}))
    assert "Not shown: 4 columns without a finished run of their own; 12 of 15 runs are left." in text


def test_a_run_that_stands_in_every_column_shows_none_by_itself(tmp_path) -> None:
    """A convolution has no stage with an operator: it is the same run beside every stage."""
    rows = [(row, {"stages": (stage,)}, {"top1": 90.0}) for row in ("convolution", "xvolution") for stage in (3, 4, 5)]
    write_sweep(tmp_path, "stage", "cifar10_resnet18", rows, seeds=3)
    whole = sweep_table(load_sweep(tmp_path, "stage"))
    cells = json.loads((tmp_path / "stage" / "cells.json").read_text())["cells"]
    for cell in cells:
        if cell["operator"] == "xvolution" and cell["axes"]["stages"] == [4]:
            (tmp_path / "cells" / cell["cell_id"] / "result.json").unlink()
    table = sweep_table(load_sweep(tmp_path, "stage"))
    assert table.columns == (whole.columns[0], whole.columns[2])
    assert any("Not shown: 1 column without a finished run of its own; 3 of 12" in note for note in table.notes)


@pytest.mark.parametrize("kind", ["lines", "dots", "scatter", "seeds"])
def test_a_figure_shows_the_rows_and_columns_of_the_table(kind: str, make_ledger) -> None:
    runs = make_ledger(SCORES)
    lose(runs, {("xvolution", 3), ("xvolution", 5), ("convolution", 5)})
    sweep = load_sweep(runs.out, "kernel_size")
    shown = plotted(sweep, kind)
    assert {*shown["kernel_size"]} == {3, 5} and {*shown["operator"]} == {"xvolution", "convolution"}
    assert {*sweep_table(sweep).columns} == {"3", "5"}


@pytest.mark.parametrize("kind", ["seeds", "learning"])
def test_a_figure_of_rows_without_runs_is_refused_or_left_out(kind: str, make_ledger, tmp_path) -> None:
    runs = make_ledger(SCORES)
    runs.write_curves()
    lose(runs, {("xvolution", 3)})
    only = {"operator": ["convolution"]}
    with pytest.raises(NothingToDrawError, match="--only operator=convolution"):
        figure(load_sweep(runs.out, "kernel_size", only=only), kind)
    assert not render_figures(Collection([runs.out]), "kernel_size", tmp_path, [kind], only=only).paths
