"""A table, and how it is written as Markdown, LaTeX, plain text and CSV with the same numbers."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lightning_xvol.commandline import columns, markdown_table
from lightning_xvol.surroundings.printing import printable

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "|": r"\textbar{}", "[": "{[}", "*": "{*}", '"': r"\textquotedbl{}", "\n": " ",
        "\N{MINUS SIGN}": "$-$", "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{EN DASH}": "--",
        "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{DAGGER}": r"$\dagger$",
        "\N{NO-BREAK SPACE}": "~",
    }
)  # fmt: skip
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\|*`<[]"} | {"\n": " "})


def escape_latex(text: str) -> str:
    # LaTeX takes a bracket or a star at the start of a row as an argument of the line break before it.
    return printable(text).translate(_LATEX)


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
        bold: The meaning of bold table cells.
        notes: The footnotes.
        tidy: The numbers behind the table, which are its CSV.
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

    @property
    def cells(self) -> list[TableCell]:
        return [cell for block in self.blocks for _, row in block.rows for cell in row]

    def to_csv(self) -> str:
        """The CSV: floats in full precision, integers as integers, nothing where a value is missing."""
        return to_csv(self.tidy)

    def to_markdown(self) -> str:
        header = [escape_markdown(text) for text in (self.spanner or self.stub, *self.columns)]
        lines = []
        for block in self.blocks:
            if block.heading:
                lines.append([f"*{escape_markdown(block.heading)}*", *[""] * len(self.columns)])
            lines += [[escape_markdown(label), *map(_markdown_cell, row)] for label, row in block.rows]
        grid = markdown_table(header, lines, (":--", *[":-:"] * len(self.columns)))
        notes = "\n".join(f"- {escape_markdown(note)}" for note in self.footnotes("Bold"))
        caption = f"**{escape_markdown(self.title)}** {escape_markdown(self.caption)}"
        return f"{caption}\n\n{grid}\n\n{notes}\n"

    def to_latex(self) -> str:
        """A whole `table` environment. It is at most as wide as its line and, with its notes, as high as a page."""
        width = len(self.columns)
        lines = []
        if self.spanner:
            lines += [
                rf" & \multicolumn{{{width}}}{{c}}{{{escape_latex(self.spanner)}}} \\",
                rf"\cmidrule(lr){{2-{width + 1}}}",
            ]
        lines += [_latex_row(self.stub, *map(escape_latex, self.columns)), r"\midrule"]
        for number, block in enumerate(self.blocks):
            if number:
                lines.append(r"\midrule")
            if block.heading:
                lines.append(rf"\multicolumn{{{width + 1}}}{{l}}{{\emph{{{escape_latex(block.heading)}}}}} \\")
            lines += [_latex_row(label, *map(_latex_cell, row)) for label, row in block.rows]
        body = "\n".join(f"    {line}" for line in [r"\toprule", *lines, r"\bottomrule"])
        notes = "\\par\n    ".join(escape_latex(note) for note in self.footnotes("Bold"))
        return "\n".join(
            [
                r"% Requires \usepackage{booktabs} and \usepackage{graphicx}.",
                r"\begin{table}[t]",
                r"  \centering",
                rf"  \caption{{{escape_latex(f'{self.title} {self.caption}')}}}",
                rf"  \label{{tab:{slug(self.name)}}}",
                r"  \resizebox*{!}{\ifdim\totalheight>0.85\textheight 0.85\textheight\else\totalheight\fi}{%",
                r"  \begin{minipage}{\linewidth}\centering",
                r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
                rf"  \begin{{tabular}}{{l{'c' * width}}}",
                body,
                r"  \end{tabular}}",
                r"  \par\smallskip",
                r"  \footnotesize\raggedright",
                f"    {notes}",
                r"  \end{minipage}}",
                r"\end{table}",
                "",
            ]
        )

    def to_text(self, width: int = 100) -> str:
        """The table for a terminal: remarks are below their value, and columns that do not fit follow further down."""
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
        return printable("\n\n".join([textwrap.fill(f"{self.title} {self.caption}", width), *pieces, "\n".join(notes)]))

    def footnotes(self, mark: str) -> list[str]:
        """`notes`, after a note on the meaning of `mark` where the table has bold cells."""
        bold = any(cell.bold for cell in self.cells)
        return [*([f"{mark}: {self.bold}."] if bold else []), *self.notes]

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


def _latex_cell(cell: TableCell) -> str:
    value = escape_latex(cell.value)
    value = rf"\textbf{{{value}}}" if cell.bold else value
    return f"{value} ({escape_latex('; '.join(cell.remarks))})" if cell.remarks else value


def _latex_row(label: str, *texts: str) -> str:
    return " & ".join([escape_latex(label), *texts]) + r" \\"


def _text_cell(cell: TableCell) -> list[str]:
    value = f"{cell.value}*" if cell.bold else cell.value
    return [value, *(f"({remark})" for remark in cell.remarks)]
