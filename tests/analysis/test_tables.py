from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from analysis.table import Block, Table, TableCell, escape_latex, escape_markdown

NASTY = r"100% of_a & b #1 $x$ {y} ~z^2 \cmd [t]* <1> |2|"


def table(times: int = 1) -> Table:
    rows = (
        (NASTY, (TableCell("1.0", (NASTY,), bold=True), TableCell("–"))),
        ("[first]", (TableCell("−1"), TableCell("*"))),
    ) * times
    return Table("a_b", NASTY, NASTY, NASTY, NASTY, ("a_1", "b"), (Block(rows),), "best", (NASTY,), pd.DataFrame())


def test_latex_is_escaped() -> None:
    assert escape_latex(r"_%&#${}") == r"\_\%\&\#\$\{\}"
    assert escape_latex("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert escape_latex("−1 ± 2 – 3") == r"$-$1 $\pm$ 2 -- 3"


def test_a_row_never_begins_with_an_argument_of_the_line_break() -> None:
    assert "    {[}first]" in table().to_latex()


def test_markdown_is_escaped() -> None:
    assert escape_markdown("a|b *c* x_y <d> `e`") == r"a\|b \*c\* x_y \<d> \`e\`"


def test_every_markdown_row_has_as_many_cells() -> None:
    grid = [line for line in table().to_markdown().splitlines() if line.startswith("| ")]
    assert {line.replace(r"\|", "").count("|") for line in grid} == {4}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("times", [1, 60])
def test_latex_compiles_and_fits_on_a_page(times: int, tmp_path: Path) -> None:
    packages = r"\usepackage{booktabs}\usepackage{graphicx}"
    document = rf"\documentclass{{article}}{packages}\begin{{document}}{table(times).to_latex()}\end{{document}}"
    (tmp_path / "document.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "document.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Float too large" not in done.stdout
