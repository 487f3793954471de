"""A table, and how it is written as Markdown, LaTeX, plain text and CSV with the same numbers."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.table.letters import escape_latex, transliterate
from lightning_xvol.commandline import columns, markdown_table
from lightning_xvol.surroundings.printing import printable

__all__ = ["Block", "Table", "TableCell", "escape_latex", "escape_markdown", "slug", "to_csv"]

_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\|*`<[]"} | {"\n": " "})


def escape_markdown(text: str) -> str:
    return printable(text).translate(_MARKDOWN)


def to_csv(frame: pd.DataFrame) -> str:
    """`frame` as CSV whose texts no spreadsheet runs: an apostrophe stands before one that begins like a formula."""
    texts = {name: frame[name].map(_csv_text) for name in frame.columns if frame[name].dtype.kind in "OUT"}
    shown = frame.assign(**texts).rename(columns=_csv_text)
    return shown.to_csv(index=False, lineterminator="\n")


def _csv_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text


def slug(text: str) -> str:
    """`text` in the letters of a label or a file name: `Table 2 (small)` becomes `table-2-small`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True)
class TableCell:
    """One cell of a table (not a run: that is a cell of a sweep).

    Attributes:
        value: The text of the cell.
        remarks: What follows the value in brackets.
        bold: Whether the value is the best of its column.
        group_id: The group of the runs behind the value; empty where the value is not from runs.
    """

    value: str
    remarks: tuple[str, ...] = ()
    bold: bool = False
    group_id: str = ""


@dataclass(frozen=True)
class Block:
    """Rows that belong together: each is a label and its table cells. `heading` is the line above them."""

    rows: tuple[tuple[str, tuple[TableCell, ...]], ...]
    heading: str = ""


@dataclass(frozen=True)
class Table:
    """A table of blocks of rows.

    Attributes:
        name: The name in the label of the LaTeX table.
        title, caption: The two parts of its caption.
        stub: The heading of the column of row labels.
        spanner: The heading above all other columns; empty for none.
        columns: The headings of the other columns.
        blocks: The rows.
        bold: The meaning of bold table cells, for a footnote.
        notes: The footnotes.
        tidy: The numbers behind the table, which are its CSV.
        short_notes: The short footnotes: a sentence on estimator and n, one on the data, and warnings.
        shown_notes: The footnotes that are shown: `full`, `short` or `none`.
        paper_number: The number of the table in the paper; None for a table that the paper does not print.
    """

    name: str
    title: str
    caption: str
    stub: str
    spanner: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    bold: str
    notes: tuple[str, ...]
    tidy: pd.DataFrame
    short_notes: tuple[str, ...] = ()
    shown_notes: str = "full"
    paper_number: int | None = None

    @property
    def numbered_title(self) -> str:
        """The title, after the number that the paper gives the table."""
        return self.title if self.paper_number is None else f"Table {self.paper_number}. {self.title}"

    @property
    def latex_caption(self) -> str:
        """The caption where LaTeX counts the tables: a table of the paper names its number there at the end."""
        of_paper = "" if self.paper_number is None else f" (Table {self.paper_number} of the paper)."
        return f"{self.title.removesuffix('.') if of_paper else self.title}{of_paper} {self.caption}".strip()

    @property
    def label(self) -> str:
        """The name in the letters that a label of LaTeX can have."""
        return slug(transliterate(self.name)) or "table"

    @property
    def texts(self) -> list[str]:
        """Every text of the table."""
        rows = [row for block in self.blocks for row in block.rows]
        cells = [text for cell in self.cells for text in (cell.value, *cell.remarks)]
        headings = [self.title, self.caption, self.stub, self.spanner, *self.columns]
        return [
            *headings,
            *(block.heading for block in self.blocks),
            *(label for label, _ in rows),
            *cells,
            *self.notes,
        ]

    @property
    def cells(self) -> list[TableCell]:
        return [cell for block in self.blocks for _, row in block.rows for cell in row]

    def to_csv(self) -> str:
        """The CSV: floats in full precision, integers as integers, nothing where a value is missing."""
        return to_csv(self.tidy)

    def scores(self) -> Table:
        """The first block alone, without the remarks beside its values."""
        rows = tuple(
            (label, tuple(replace(cell, remarks=()) for cell in cells)) for label, cells in self.blocks[0].rows
        )
        return replace(self, blocks=(Block(rows),))

    def to_markdown(self) -> str:
        """The caption, the table and its footnotes."""
        notes = "".join(f"- {escape_markdown(note)}\n" for note in self.footnotes("Bold"))
        caption = f"**{escape_markdown(self.numbered_title)}** {escape_markdown(self.caption)}"
        return f"{caption}\n\n{self.markdown_grid()}\n" + (f"\n{notes}" if notes else "")

    def markdown_grid(self) -> str:
        """The table in Markdown, without caption and footnotes."""
        header = [escape_markdown(text) for text in (self.spanner or self.stub, *self.columns)]
        lines = []
        for block in self.blocks:
            if block.heading:
                lines.append([f"*{escape_markdown(block.heading)}*", *[""] * len(self.columns)])
            lines += [[escape_markdown(label), *map(_markdown_cell, row)] for label, row in block.rows]
        return markdown_table(header, lines, (":--", *[":-:"] * len(self.columns)))

    def to_latex(self, siunitx: bool = False) -> str:
        """A whole environment `table`, as `analysis.table.latex` describes it."""
        from analysis.table import latex

        return latex.to_latex(self, siunitx)

    def to_text(self, width: int = 100) -> str:
        """The table for a terminal of `width` columns. Remarks are below their value.

        Columns that do not fit follow further down.
        """
        stub = max(
            len(text)
            for text in (self.stub, self.spanner, *(label for block in self.blocks for label, _ in block.rows))
        )
        lengths = [max(map(len, self._column(index))) for index in range(len(self.columns))]
        parts: list[list[int]] = []
        for index, length in enumerate(lengths):
            used = stub + sum(lengths[other] + 2 for other in parts[-1]) if parts else width
            if used + length + 2 > width:
                parts.append([])
            parts[-1].append(index)
        pieces = ["\n".join(self._text_part(indices, stub, lengths)) for indices in parts]
        notes = [textwrap.fill(note, width, subsequent_indent="  ") for note in self.footnotes("*")]
        caption = textwrap.fill(f"{self.numbered_title} {self.caption}", width)
        return printable("\n\n".join([caption, *pieces, *(["\n".join(notes)] if notes else [])]))

    def with_notes(self, shown: str) -> Table:
        """The table with the footnotes `shown`: `full`, `short` or `none`."""
        return replace(self, shown_notes=shown)

    def footnotes(self, mark: str, turned: bool = False) -> list[str]:
        """The footnotes that are shown, with the meaning of `mark` if the table has bold cells.

        Args:
            mark: What marks the bold cells, such as `Bold`.
            turned: Whether the rows of the table are shown as columns.
        """
        bold = self.bold.replace("its column", "its row") if turned else self.bold
        meaning = f"{mark}: {bold}." if any(cell.bold for cell in self.cells) else ""
        if self.shown_notes == "none":
            return []
        if self.shown_notes == "full" or not self.short_notes:
            return [*filter(None, [meaning]), *self.notes]
        estimator, *others = self.short_notes
        return [f"{estimator.removesuffix('.')}; {meaning[:1].lower()}{meaning[1:]}" if meaning else estimator, *others]

    def _column(self, index: int) -> list[str]:
        lines = [line for block in self.blocks for _, row in block.rows for line in _text_cell(row[index])]
        return [self.columns[index], *lines]

    def _text_part(self, indices: Sequence[int], stub: int, lengths: Sequence[int]) -> list[str]:
        """The columns `indices` as lines, beside a column of row labels that is `stub` characters wide."""
        rows: list[Sequence[str]] = [[self.spanner or self.stub, *(self.columns[index] for index in indices)]]
        for block in self.blocks:
            rows += [block.heading] * bool(block.heading)
            for label, row in block.rows:
                rows += itertools.zip_longest([label], *(_text_cell(row[index]) for index in indices), fillvalue="")
        header, *body = columns(rows)
        return [header, "-" * (stub + sum(lengths[index] + 2 for index in indices)), *body]


def _markdown_cell(cell: TableCell) -> str:
    value = escape_markdown(cell.value)
    value = f"**{value}**" if cell.bold else value
    return f"{value} ({escape_markdown('; '.join(cell.remarks))})" if cell.remarks else value


def _text_cell(cell: TableCell) -> list[str]:
    value = f"{cell.value}*" if cell.bold else cell.value
    return [value, *(f"({remark})" for remark in cell.remarks)]
