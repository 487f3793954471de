"""Tables of text, which every command prints by the same functions."""

from __future__ import annotations

from lightning_xvol.commandline import columns, markdown_table, row_named
from lightning_xvol.config import registry

ROWS = [("name", "note", "count"), ("pssa", "", "7"), ("xvolution", "two branches", "12")]


def test_columns_are_as_wide_as_their_widest_cell_and_headings_are_left_alone():
    first, second, third = ROWS
    assert columns([first, "a heading longer than any of the cells in this table", second, third], right=[2]) == [
        "name       note          count",
        "a heading longer than any of the cells in this table",
        "pssa                         7",
        "xvolution  two branches     12",
    ]
    assert columns([("a", "bc"), ("def", "g")]) == ["a    bc", "def  g"]  # no space at the end of a line
    assert columns([]) == []


def test_a_markdown_table_aligns_by_its_marks():
    assert markdown_table(ROWS[0], ROWS[1:], (":--", ":-:", "--:")).splitlines() == [
        "| name      | note         | count |",
        "| :-------- | :----------: | ----: |",
        "| pssa      |              |     7 |",
        "| xvolution | two branches |    12 |",
    ]
    assert markdown_table(["a"], [["b"]], ["--:"]).splitlines() == ["|   a |", "| --: |", "|   b |"]


def test_every_registered_operator_has_two_spellings_and_an_added_class_too():
    rows = [*registry.OPERATORS, "pssa_static", "Mine"]
    for name, entry in registry.OPERATORS.items():
        assert row_named(name, rows) == row_named(entry.path, rows) == name
    assert row_named("a.b:Mine", rows) == row_named("Mine", rows) == "Mine"
    assert row_named("pssa_static", rows) == "pssa_static"
    assert row_named(registry.OPERATORS["pssa"].path, [*rows, "PSSA"]) == "PSSA", "the row that the user has added"
    assert row_named("a.b:Other", rows) is row_named("", rows) is row_named(":", rows) is None
