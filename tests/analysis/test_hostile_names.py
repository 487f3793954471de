"""Every kind of table compiles in LaTeX, with any characters in the names of operators, runs, sweeps and data."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from analysis.__main__ import main
from tests.analysis.latex import CLASSES, compiled, needs_latex, point_height, words

NAME = (
    r"_ % & # $x$ { } ~ ^ \frac{1}{0} \end{tabular} <script>alert(1)</script> [t] * | ` -- "
    "é λ щ 中文 \N{GRINNING FACE} \N{HEBREW LETTER SHIN}\N{ARABIC LETTER MEEM}"
)


def hostile(make_ledger, **changes):
    """A ledger in which every text that a user can choose is `NAME`."""
    scores = {"convolution": {1: [20.0, 21.0], 3: [70.0, 71.0]}, "xvolution": {1: [90.0, 91.0], 3: [95.0, 96.0]}}
    runs = make_ledger(
        scores, title=NAME, recipe=NAME, data=NAME, budget=NAME, metric_label=NAME, note=NAME, figure=None,
        axes=["kernel_size", "more"], axis_labels={"kernel_size": NAME, "more": NAME},
        controls={NAME: ["convolution"]}, beside={"val_top1": NAME}, baseline="convolution", **changes,
    )  # fmt: skip
    for cell in runs.cells:
        runs.write(cell, 50.0, commit=NAME, environment={"torch": NAME, "device": NAME})
        cell["axes"]["more"] = NAME
        if cell["operator"] == "xvolution":
            cell |= {"operator": NAME, "label": NAME}
    failed = runs.cells[-1]["cell_id"]
    (runs.out / "cells" / failed / "result.json").unlink()
    (runs.out / "cells" / failed / "failure.json").write_text(json.dumps({"error": NAME, "step": 1, "attempt": 1}))
    runs.write_sweep()
    return runs


@needs_latex
@pytest.mark.parametrize("layout", CLASSES)
def test_the_table_of_a_sweep_compiles(make_ledger, tmp_path: Path, layout: str) -> None:
    runs = hostile(make_ledger)
    name = NAME.replace("/", "")  # a folder cannot have it
    (runs.out / "kernel_size").rename(runs.out / name)
    plan = runs.out / name / "cells.json"
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "sweep": name}))
    assert main(["tables", "--source", str(runs.out)]) == 0
    table = runs.out / name / "table.tex"
    assert table.read_text().count(r"\textless{}script\textgreater{}") > 12 and "<script>" not in table.read_text()
    compiled(tmp_path, table.read_text(), layout)
    assert min(word.height for word in words(tmp_path / "document.pdf")) > 0.99 * point_height(tmp_path, 7)
    markdown = (runs.out / name / "table.md").read_text()
    assert markdown.count(r"\<script>") > 12 and not markdown.replace(r"\<script>", "").count("<script>")


@needs_latex
def test_a_sweep_without_axes_and_the_papers_tables_compile(make_ledger, tmp_path: Path) -> None:
    """Tables 1, 2, 4 and 6 on other data show the name of these data."""
    tables = []
    for sweep, axes in (("operator", []), ("position_encoding", []), ("schedule", ["schedule"])):
        scores = {"convolution": {1: [20.0, 21.0]}, "xvolution": {1: [90.0, 91.0]}}
        runs = make_ledger(scores, sweep=sweep, axes=axes, data=NAME, budget=NAME, recipe=NAME, figure=None)
        for cell in runs.cells:
            cell["axes"]["schedule"] = 1
            runs.write(cell, 50.0, commit=NAME)
        runs.write_sweep()
        out = tmp_path / sweep
        assert main(["tables", "--source", str(runs.out), "--sweep", sweep, "--out", str(out)]) == 0
        assert main(["tables", "--paper", "--source", str(runs.out), "--out", str(out)]) == 0
        tables += [out / sweep / "table.tex", *sorted((out / "paper").glob("*.tex"))]
        shutil.rmtree(runs.out)
    names = {path.name.partition("-script")[0][:7] for path in tables if path.name.startswith("table-")}
    assert names == {"table-1", "table-2", "table-4", "table-6"}
    for layout in CLASSES:
        printed = compiled(tmp_path, r"\clearpage".join(table.read_text() for table in tables), layout)
        assert not re.findall("multiply defined|Missing character|Float too large", printed)
