"""Tables in LaTeX: what a document shows of them, measured in the PDF."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from analysis import load_sweep
from analysis.paper.pools import pools
from analysis.paper.tables import paper_tables
from analysis.paper.tables_without_runs import table_5, table_7
from analysis.sources.collection import Collection
from analysis.sweep.table import sweep_table
from analysis.table import Block, Table, TableCell, escape_latex
from analysis.table.latex import COLUMN, LIMITS, NARROW_LIMITS
from analysis.table.letters import foreign
from analysis.table.pages import panels
from tests.analysis.latex import CLASSES, ROOT, compiled, needs_latex, point_height, words

ARCHIVES = sorted((ROOT / "results").glob("*.jsonl.gz"))
NAMES = (
    r"_ % & # $x$ { } ~ ^ \frac{1}{0} \end{tabular} <b> [t] * | ` '' -- ?` !` ,, << >>", "naïve Żółć Åse Ľubomír ế ą",
    "α-dropout, λ = 0.5, Δ ≤ ∞ → ℝ²", "模型 二号", "モデル ひらがな", "한국어", "модель Щука", "נתונים", "بيانات ۳",
    "emoji 😀 👩‍💻 ✓", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ﬁ ½ ①", "\u202eright\u0000 to\u200f left\x1b[2J", "a" * 150, "x, y = 1 " * 12, "",
)  # fmt: skip


def table_of(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[TableCell]], **changes: object
) -> Table:
    block = Block(tuple((label, tuple(cells)) for label, cells in zip(rows, values, strict=True)))
    table = Table("t", "A title.", "A caption.", "Operator", "axis", tuple(columns), (block,),
        "highest mean of its column", ("Notes stand here.",), pd.DataFrame())  # fmt: skip
    return dataclasses.replace(table, **changes)  # type: ignore[arg-type]


def filled(rows: int, columns: int, **changes: object) -> Table:
    cell = TableCell("97.5 ± 0.6", ("+12.3†",))
    names = [f"row {row}" for row in range(rows)], [f"column {column}" for column in range(columns)]
    return table_of(*names, [[cell] * columns] * rows, **changes)


@functools.cache
def recorded_tables() -> list[Table]:
    """The tables of every sweep in results/, the same rows in the layout of the paper, and the tables without runs."""
    tables = [table_5(), table_7()]
    for archive in ARCHIVES:
        sources = Collection([archive])
        tables += [sweep_table(load_sweep(sources, name)) for name in sources.sweeps()]
        tables += [table for number in (1, 2, 3, 4, 6) for table in paper_tables(number, pools(sources, str(number)))]
    return [dataclasses.replace(table, name=f"{table.name}-{number}") for number, table in enumerate(tables)]


@needs_latex
@pytest.mark.skipif(not ARCHIVES, reason="results/ holds no records")
@pytest.mark.slow
@pytest.mark.parametrize("layout", CLASSES)
def test_every_table_of_the_results_compiles_with_text_of_seven_points(layout: str, tmp_path: Path) -> None:
    tables = recorded_tables()
    assert len(tables) > 2 + 2 * len(ARCHIVES)
    printed = compiled(tmp_path, r"\clearpage".join(table.to_latex() for table in tables), layout)
    assert not re.findall("Overfull|Float too large|multiply defined|Missing character", printed)
    heights = [word.height for word in words(tmp_path / "document.pdf")]
    assert len(heights) > 2000 and min(heights) > 0.99 * point_height(tmp_path, 7)


@needs_latex
@pytest.mark.parametrize("layout", CLASSES)
def test_any_names_and_sizes_compile_and_the_body_is_no_smaller_than_its_notes(layout: str, tmp_path: Path) -> None:
    draw, notes = random.Random(layout), point_height(tmp_path, 7)
    for trial in range(4):
        tables = [_random_table(draw, number) for number in range(3)]
        printed = compiled(tmp_path, "Text." + r"\clearpage".join(table.to_latex() for table in tables), layout)
        assert not re.findall("Float too large|multiply defined|Missing character", printed), trial
        found = words(tmp_path / "document.pdf")
        assert any("Notesword" in word.text for word in found)
        assert min(word.height for word in found if "6789" in word.text) > 0.99 * notes
        assert min(word.height for word in found) > 0.99 * notes


def _random_table(draw: random.Random, number: int) -> Table:
    """A table of up to 25 rows and 10 columns, with names and remarks of any kind."""
    count, width = draw.randint(1, 25), draw.randint(1, 10)
    texts = ["6789.5 ± 0.3", "6789.1", "6789.0, 6789.9", "–", "−5.4e11 ± 7.6e11", "6789.3k", "1x", *NAMES[:12]]
    remarks = ["+12.3†", "n = 2", "diverged 1 of 3", "24.0 to 99.6", *NAMES[:12]]

    def cell() -> TableCell:
        value = draw.choice(texts) if draw.random() < 0.2 else "6789.5 ± 0.3"
        return TableCell(value, tuple(draw.sample(remarks, draw.choice([0, 0, 1, 2]))), draw.random() < 0.1)

    name = itertools.cycle(draw.sample(NAMES, len(NAMES)))
    block = tuple((next(name), tuple(cell() for _ in range(width))) for _ in range(count))
    headings = tuple(next(name)[:60] for _ in range(width))
    blocks = (Block(block[:1]), Block(block[1:], next(name))) if count > 1 else (Block(block),)
    notes = tuple(f"Notesword {next(name)}" for _ in range(draw.choice([1, 3, 30])))
    return Table(f"t{number}", next(name), next(name), next(name), next(name), headings, blocks, "best", notes,
        pd.DataFrame())  # fmt: skip


@needs_latex
def test_numbers_of_a_column_are_aligned_at_the_decimal_point(tmp_path: Path) -> None:
    values = ["7.5", "117.5 ± 0.3", "−2.5, 3.1", "9", "80.5k"]
    cells = [[TableCell(value, ("+3.5†",)), TableCell("text 1")] for value in values]
    (tmp_path / "names").mkdir()
    compiled(tmp_path, table_of("abcde", ["a heading that is wide", "other"], cells).to_latex())
    found = words(tmp_path / "document.pdf")
    # A digit has a fixed width, so numbers with one decimal end at the same place.
    ends = [word.right for word in found if word.text in ("7.5", "117.5")]
    commas = [word.right - 2.36 for word in found if word.text == "−2.5,"]
    kilo = [word.right - 4.49 for word in found if word.text == "80.5k"]
    deltas = [word.right - 3.78 - 3.31 for word in found if "+3.5" in word.text]
    assert len(ends) == 2 and len(commas) == len(kilo) == 1 and len(deltas) == 5
    assert max(ends + commas + kilo + deltas) - min(ends + commas + kilo + deltas) < 0.3
    below = next(word for word in found if "+3.5" in word.text)
    assert below.top > next(word for word in found if word.text == "7.5").bottom - 2


def test_a_wide_table_is_turned_or_divided_before_it_shrinks() -> None:
    def shape(table: Table, limits: Sequence[float] = LIMITS) -> list[tuple[bool, int]]:
        return [(grid.is_turned, len(grid.headings)) for grid in panels(table, limits)]

    assert shape(filled(3, 2)) == [(False, 2)]
    assert shape(filled(2, 9)) == [(True, 2)], "it fits in a column so"
    assert shape(filled(9, 7)) == [(False, 7)], "both columns of a page hold it"
    assert shape(filled(9, 9), NARROW_LIMITS) == [(False, 5), (False, 4)]
    assert [turned for turned, _ in shape(filled(30, 30))] == [False] * 3
    for rows, columns, limits in itertools.product([1, 5, 40], [1, 5, 40], [LIMITS, NARROW_LIMITS]):
        grids = panels(filled(rows, columns), limits)
        assert max(grid.width for grid in grids) <= limits[-1]
        assert sum(len(grid.headings) for grid in grids) == (rows if grids[0].is_turned else columns)


def test_a_heading_that_occurs_again_stays_with_the_column_before_it() -> None:
    names = [name for number in range(12) for name in (f"metric {number}", "printed")]
    table = table_of([f"row {number}" for number in range(40)], names, [[TableCell("7.5")] * 24] * 40)
    assert [grid.headings[0] for grid in panels(table, LIMITS)] == ["metric 0", "metric 6"]
    alike = table_of(["row"] * 40, ["printed"] * 40, [[TableCell("7.5")] * 40] * 40)
    assert max(grid.width for grid in panels(alike, LIMITS)) <= LIMITS[-1]


@needs_latex
def test_a_table_spans_both_columns_only_if_it_is_wider_than_one(tmp_path: Path) -> None:
    narrow, wide = filled(3, 2), filled(12, 5)
    assert panels(narrow, LIMITS)[0].width < COLUMN < panels(wide, LIMITS)[0].width
    compiled(tmp_path, "Text." + narrow.to_latex() + wide.to_latex(), "two wide columns")
    found = words(tmp_path / "document.pdf")
    right = {page: max(word.right for word in found if word.page == page and len(word.text) > 1) for page in (1, 2)}
    assert right[1] < 306 < right[2]


def test_a_turned_table_says_what_is_bold_in_its_rows() -> None:
    cells = [[TableCell("1.0", bold=True)] * 9, [TableCell("0.5 ± 0.3", ("+1.0",))] * 9]
    table = table_of(["a", "b"], [f"column {number}" for number in range(9)], cells)
    assert panels(table, LIMITS)[0].is_turned and "Bold: highest mean of its row." in table.to_latex()
    assert "Bold: highest mean of its column." in table.to_markdown()


@needs_latex
@pytest.mark.skipif(
    shutil.which("kpsewhich") is None or not subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True).stdout,
    reason="siunitx is not installed",
)
def test_siunitx_aligns_the_numbers_on_request(tmp_path: Path) -> None:
    table = table_of(["a", "b"], ["c"], [[TableCell("7.5 ± 0.6", bold=True)], [TableCell("97.5", ("+90.0†",))]])
    latex = table.to_latex(siunitx=True)
    compiled(tmp_path, latex, packages=r"\usepackage{siunitx}")
    shown = " ".join(word.text for word in words(tmp_path / "document.pdf"))
    assert "7.5 ± 0.6" in shown and "97.5" in shown and "(+90.0†)" in shown


def test_siunitx_is_named_only_where_it_is_needed() -> None:
    table = filled(2, 2)
    assert r"\usepackage{siunitx}" in table.to_latex(siunitx=True) and "siunitx" not in table.to_latex()
    assert "S[table-format=3.1," in table.to_latex(siunitx=True).replace("-3.1", "3.1")


def test_every_character_becomes_ascii_and_one_line() -> None:
    for start in (*range(0, 0x20000, 4096), 0xE0000, sys.maxunicode - 4095):
        written = escape_latex("".join(map(chr, range(start, start + 4096))))
        assert written.isascii() and "\n" not in written


def test_letters_that_pdftex_lacks_are_transliterated_and_the_first_comments_say_so() -> None:
    assert escape_latex("Żółć é ï") == r"\.{Z}\'{o}\l{}\'{c} \'{e} \"{\i}"
    assert escape_latex("α Λ ς") == r"$\alpha$ $\Lambda$ $\varsigma$"
    assert escape_latex("Щука, שלום, مرحبا, 한국") == "Shchuka, shlvm, mrhba, hangug"
    assert escape_latex("ế ą ﬁ ½ ℝ") == r"\^{e} a fi 1/2 R"
    assert escape_latex("中文 😀") == "{[}U+4E2D U+6587] {[}grinning face]"
    assert escape_latex("--only `a` ''b''") == r"-{}-only \textasciigrave{}a\textasciigrave{} '{}'b'{}'"
    latex = table_of(["中 é"], ["a"], [[TableCell("1")]]).to_latex()
    comments = list(itertools.takewhile(lambda line: line.startswith("%"), latex.splitlines()))
    assert "pdfLaTeX and LuaLaTeX compile it" in comments[0]
    assert comments[-1] == "% Letters that pdfTeX lacks are replaced: 中 = [U+4E2D]." and foreign("é α −5 ± †") == {}


@needs_latex
def test_a_table_without_rows_or_columns_compiles(tmp_path: Path) -> None:
    tables = [filled(0, 2), filled(2, 0), filled(0, 0), filled(1, 1, spanner="", stub="")]
    tables += [filled(1, 1, blocks=(), notes=()), filled(1, 1, title="", caption="", name="")]
    compiled(tmp_path, "Text." + "".join(table.to_latex() for table in tables))


@needs_latex
def test_every_letter_that_is_kept_is_one_that_pdftex_has(tmp_path: Path) -> None:
    kept = [each for each in map(chr, range(32, 0x2FFF)) if each.isprintable() and not foreign(each)]
    assert len(kept) > 400
    printed = compiled(tmp_path, r"\par ".join(map(escape_latex, kept)))
    assert not re.findall("Missing character|unavailable|Warning", printed)
