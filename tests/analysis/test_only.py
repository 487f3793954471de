"""`--only` hides rows and columns; it changes no number."""

from __future__ import annotations

import csv
import itertools

import pytest

from analysis import load_sweep, render_table
from analysis.__main__ import main
from lightning_xvol.errors import UserError
from tests.analysis.conftest import SCORES


def test_hiding_rows_changes_no_number(make_ledger) -> None:
    out = make_ledger(SCORES).out
    whole = load_sweep(out, "kernel_size")
    every = {line["operator"] + line["kernel_size"] + line["metric"]: line for line in lines_of(whole)}
    for size, operator in itertools.product((1, 9), SCORES):
        shown = load_sweep(out, "kernel_size", only={"kernel_size": [size], "operator": [operator]})
        assert len(shown.summary) == 1 and shown.prior == whole.prior
        for line in lines_of(shown):
            assert line == every[line["operator"] + line["kernel_size"] + line["metric"]]


def test_an_import_path_spells_the_row_of_its_operator(make_ledger) -> None:
    out = make_ledger(SCORES).out
    path = "lightning_xvol.operators.xvolution:XVolution"
    assert set(load_sweep(out, "kernel_size", only={"operator": [path]}).summary["operator"]) == {"xvolution"}


def lines_of(results) -> list[dict[str, str]]:
    return list(csv.DictReader(render_table(results, "csv").splitlines()))


def test_the_table_and_the_figures_say_what_they_hide(make_ledger, tmp_path, capsys) -> None:
    runs = make_ledger(SCORES)
    runs.write_curves()
    only = ["--only", "operator=xvolution,convolution", "--only", "kernel_size=3", "--only", "kernel_size=5"]
    assert main(["tables", "--source", str(runs.out), "--out", str(tmp_path), *only]) == 0
    text = (tmp_path / "kernel_size" / "table.md").read_text()
    assert "Shown: 4 of 15 groups (--only operator=xvolution,convolution kernel_size=3,5)" in text
    assert "| X-volution (static)" not in text and "Against its control, X-volution minus" in text
    assert "over the 15 differences of the table" in text, "Holm's family stays"
    assert main(["figures", "--source", str(runs.out), "--out", str(tmp_path), "--interval", "t", *only]) == 0
    assert "learning" in capsys.readouterr().out
    assert "Shown:" not in render_table(load_sweep(runs.out, "kernel_size"))


@pytest.mark.parametrize(
    ("only", "sentence"),
    [
        ("operator=convolutoin", "did you mean"),
        ("kernal_size=3", "no such key"),
        ("kernel_size=4", "values: 1, 3, 5, 7, 9"),
        ("seed=0", "keys: operator, kernel_size"),
        ("kernel_size=", "must be KEY=V1,V2"),
        ("xvolution", "must be KEY=V1,V2"),
    ],
)
def test_mistakes_have_a_sentence(make_ledger, only: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        main(["tables", "--source", str(make_ledger(SCORES).out), "--only", only])


def test_values_that_no_row_has_together_show_nothing(make_ledger) -> None:
    runs = make_ledger(SCORES)
    runs.sweep["cells"] = [
        cell for cell in runs.cells if (cell["operator"], cell["axes"]["kernel_size"]) != ("xvolution", 9)
    ]
    runs.write_sweep()
    with pytest.raises(UserError, match="shows nothing"):
        _ = load_sweep(runs.out, "kernel_size", only={"operator": ["xvolution"], "kernel_size": [9]}).summary
