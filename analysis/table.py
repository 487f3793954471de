"""One table, rendered to Markdown, LaTeX, plain text and CSV with the same numbers."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lightning_xvol.commandline import columns, markdown_table

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "|": r"\textbar{}", "[": "{[}", "*": "{*}", '"': r"\textquotedbl{}", "\n": " ",
        "\N{MINUS SIGN}": "$-$", "\N{PLUS-MINUS SIGN}": r"$\pm$", "\N{EN DASH}": "--",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
        "\N{NO-BREAK SPACE}": "~",
    }
)  # fmt: skip
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\|*`<[]"} | {"\n": " "})


def escape_latex(text: str) -> str:
    # A bracket or a star that begins a row would be read as an argument of the line break before it.
    return text.translate(_LATEX)


def escape_markdown(text: str) -> str:
    return text.translate(_MARKDOWN)


def slug(text: str) -> str:
    """`text` for a label or the name of a file."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True)
class TableCell:
    """What stands in one place: a value, remarks to it in brackets, and whether it is the best of its scope.

    `group_id` is that of the runs whose value it is, empty where it is not from runs.
    """

    value: str
    remarks: tuple[str, ...] = ()
    bold: bool = False
    group_id: str = ""


@dataclass(frozen=True)
class Block:
    """Rows that belong together, each a label and an entry per column; a heading stands above them."""

    rows: tuple[tuple[str, tuple[TableCell, ...]], ...]
    heading: str = ""


@dataclass(frozen=True)
class Table:
    """A table of `blocks` under `columns`, which `spanner` names; `bold` says what bold means; `tidy` is the CSV."""

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
    def entries(self) -> list[TableCell]:
        return [entry for block in self.blocks for _, row in block.rows for entry in row]

    def to_csv(self) -> str:
        """Floats in full precision, integers as integers, empty where missing."""
        return self.tidy.to_csv(index=False, lineterminator="\n")

    def to_markdown(self) -> str:
        header = [escape_markdown(text) for text in (self.spanner or self.stub, *self.columns)]
        lines = []
        for block in self.blocks:
            if block.heading:
                lines.append([f"*{escape_markdown(block.heading)}*", *[""] * len(self.columns)])
            lines += [[escape_markdown(label), *map(_markdown_entry, entries)] for label, entries in block.rows]
        grid = markdown_table(header, lines, (":--", *[":-:"] * len(self.columns)))
        notes = "\n".join(f"- {escape_markdown(note)}" for note in self.footnotes("Bold"))
        caption = f"**{escape_markdown(self.title)}** {escape_markdown(self.caption)}"
        return f"{caption}\n\n{grid}\n\n{notes}\n"

    def to_latex(self) -> str:
        """A whole `table` environment, no wider than its line and with its notes no taller than a page."""
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
            lines += [_latex_row(label, *map(_latex_entry, entries)) for label, entries in block.rows]
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
        """For a terminal: remarks stand below their value, and columns that do not fit continue further down."""
        stub = max(
            len(text)
            for text in (self.stub, self.spanner, *(label for block in self.blocks for label, _ in block.rows))
        )
        lengths = [max(map(len, self._column(place))) for place in range(len(self.columns))]
        parts: list[list[int]] = []
        for place, length in enumerate(lengths):
            used = stub + sum(lengths[other] + 2 for other in parts[-1]) if parts else width
            if used + length + 2 > width:
                parts.append([])
            parts[-1].append(place)
        pieces = ["\n".join(self._text_part(places, stub, lengths)) for places in parts]
        notes = [textwrap.fill(note, width, subsequent_indent="  ") for note in self.footnotes("*")]
        return "\n\n".join([textwrap.fill(f"{self.title} {self.caption}", width), *pieces, "\n".join(notes)])

    def footnotes(self, mark: str) -> list[str]:
        """`notes`, before them what `mark` means where anything carries it."""
        bold = any(entry.bold for entry in self.entries)
        return [*([f"{mark}: {self.bold}."] if bold else []), *self.notes]

    def _column(self, place: int) -> list[str]:
        entries = [line for block in self.blocks for _, row in block.rows for line in _text_entry(row[place])]
        return [self.columns[place], *entries]

    def _text_part(self, places: Sequence[int], stub: int, lengths: Sequence[int]) -> list[str]:
        rows: list[Sequence[str]] = [[self.spanner or self.stub, *(self.columns[place] for place in places)]]
        for block in self.blocks:
            rows += [block.heading] * bool(block.heading)
            for label, entries in block.rows:
                cells = (_text_entry(entries[place]) for place in places)
                rows += itertools.zip_longest([label], *cells, fillvalue="")
        header, *body = columns(rows)
        return [header, "-" * (stub + sum(lengths[place] + 2 for place in places)), *body]


def _markdown_entry(entry: TableCell) -> str:
    value = escape_markdown(entry.value)
    value = f"**{value}**" if entry.bold else value
    return f"{value} ({escape_markdown('; '.join(entry.remarks))})" if entry.remarks else value


def _latex_entry(entry: TableCell) -> str:
    value = escape_latex(entry.value)
    value = rf"\textbf{{{value}}}" if entry.bold else value
    return f"{value} ({escape_latex('; '.join(entry.remarks))})" if entry.remarks else value


def _latex_row(label: str, *cells: str) -> str:
    return " & ".join([escape_latex(label), *cells]) + r" \\"


def _text_entry(entry: TableCell) -> list[str]:
    value = f"{entry.value}*" if entry.bold else entry.value
    return [value, *(f"({remark})" for remark in entry.remarks)]
