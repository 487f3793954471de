"""`--notes` of every command that writes tables, and `--siunitx`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.render import load_sweep, render_table
from lightning_xvol.errors import UserError
from tests.analysis.test_confusion import SCORES, predict
from tests.analysis.test_sweep_table import SMALL, table_of


def notes_of(text: str, suffix: str) -> list[str]:
    """The footnotes in a table's Markdown or LaTeX."""
    if suffix == ".md":
        return re.findall("^- (.*)", text, re.M)
    below = text.partition("\\raggedright\n")[2].partition("\n  \\end{minipage}")[0]
    return [note.strip() for note in below.split(r"\par")] if below else []


def test_every_command_writes_short_notes_and_numbers_for_siunitx(
    make_ledger: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = make_ledger(SCORES, controls={})
    predict(runs)
    source = ["--source", str(runs.out), "--notes", "short"]
    assert main(["tables", *source, "--siunitx"]) == main(["confusion", *source, "--siunitx"]) == 0
    assert main(["report", *source]) == 0
    assert capsys.readouterr().out.count("Data: match-to-sample") == 2
    tables = sorted((runs.out / "kernel_size").glob("*.tex"))
    assert [path.stem for path in tables] == ["classes", "confusion-convolution-3", "confusion-xvolution-3", "table"]
    for path in tables:
        assert "S[table-format=" in path.read_text()
        for suffix in (".md", ".tex"):
            found = notes_of(path.with_suffix(suffix).read_text(), suffix)
            assert len(found) == 2 and found[1].startswith("Data: "), path
    page = (runs.out / "report.html").read_text()
    [section] = re.findall(r'<section id="sweep-1".*?</section>', page, re.S)
    assert len(re.findall("<li>", section)) == 2


def test_no_notes_and_all_of_them(make_ledger: Callable[..., Any]) -> None:
    sweep = load_sweep(make_ledger(SCORES, controls={}).out, "kernel_size")
    for suffix, kind in ((".md", "markdown"), (".tex", "latex")):
        assert notes_of(render_table(sweep, kind, notes="none"), suffix) == []
        full = notes_of(render_table(sweep, kind), suffix)
        assert len(full) > 5 and full[0].startswith("Bold: ") and "siunitx" not in render_table(sweep, kind)


def test_short_notes_are_a_sentence_on_the_estimator_and_one_on_the_data(make_ledger) -> None:
    table = table_of(make_ledger(SMALL)).with_notes("short")
    assert table.footnotes("Bold") == [
        "Mean ± standard deviation over seeds of each run's last top-1 accuracy (%), n = 3; in brackets: difference to "
        "Convolution, † where resolved; bold: highest mean of its column, where it is resolved above "
        "Convolution.",
        "Data: match-to-sample; budget: 3 epochs; commit: 0123456789.",
    ]
    single = make_ledger({name: {size: values[:1] for size, values in sizes.items()} for name, sizes in SMALL.items()})
    single.lose("xvolution", 3, 0)
    first, data = table_of(single).with_notes("short").footnotes("Bold")
    assert first.startswith("Each run's last top-1 accuracy (%), n = 1 unless a table cell states its own.")
    assert data.startswith("Data: ") and "±" not in first
    failed = make_ledger(SMALL)
    failed.write(failed.cells[0], 50.0, commit="abc")
    assert "Warning: mixed commits" in table_of(failed).with_notes("short").footnotes("Bold")[2], "a warning stays"
    none = table.with_notes("none")
    assert none.footnotes("Bold") == [] and none.to_markdown().endswith("46.8k                   |\n")
    for text in (none.to_latex(), none.to_text()):
        assert "Estimator" not in text and "Data:" not in text and "highest mean" not in text
    with pytest.raises(UserError, match="notes='long' must be one of full, short, none"):
        render_table(load_sweep(failed.out, "kernel_size"), notes="long")
