"""A table as LaTeX shows it: the lines of its headings and cells, and its approximate width and height.

Widths are estimates in points, from the widths of letters in Computer Modern. LaTeX itself measures the result.
"""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis import numbers

SIZE, LINE, ROW_GAP, RULE = 8.0, 9.6, 2.0, 5.0
"""In points: the size of the text, the distance of lines, the space after a row of several lines, that of a rule."""
STUB_GAP, GAP = 12.0, 8.0
"""Points after the row labels, and between two other columns."""
LABEL, TEXT, HEADING, LONGEST_WORD = 32, 36, 12, 24
"""In characters: a line of row labels, a line of text cells, the least line of headings, the longest word in them."""

_EM, _BOLDER = 8.5, 1.08  # the small letters of Computer Modern are wider than their size says
_WIDTHS = {
    letter: width
    for width, letters in {
        0.28: "!',.:;[]|il", 0.31: "fj", 0.34: " -\N{NO-BREAK SPACE}", 0.36: "I", 0.39: "()rst", 0.44: "cez\N{DAGGER}",
        0.53: "kqvxy", 0.56: "bdhnpuS", 0.61: "Z", 0.63: "L", 0.66: "F", 0.69: "EP", 0.72: "BCTw", 0.75: "AHNRUVXY",
        0.78: f"DGKOQ&+<>=@{numbers.MINUS}{numbers.PLUS_MINUS}{numbers.TIMES}", 0.84: "m%#", 0.92: "M", 1.03: "W",
    }.items()
    for letter in letters
}  # fmt: skip
_NUMBER = rf"[+{numbers.MINUS}]?\d+(?:\.\d+)?(?:e-?\d+)?[kMG]?"
SECOND = re.compile(rf"(?<= {numbers.PLUS_MINUS} )(\d+)")
"""The digits of a standard deviation before its decimal point."""
_DIVIDED = re.compile(
    rf"(?P<open>\(?)(?P<sign>[+{numbers.MINUS}]?)(?P<digits>\d+)(?P<decimals>(?:\.\d+)?)(?P<rest>(?:e-?\d+)?[kMG]?"
    rf"(?:(?: {numbers.PLUS_MINUS} |, | to )(?:{_NUMBER}|{numbers.DASH}))*(?: \[{_NUMBER}, {_NUMBER}\])?"
    rf"{numbers.DAGGER}?\)?)"
)


@dataclass(frozen=True)
class Piece:
    """A line of a table cell, in letters that LaTeX can write."""

    text: str
    bold: bool = False

    @property
    def number(self) -> re.Match[str] | None:
        """The division of a number at its decimal point; None for any other text."""
        return _DIVIDED.fullmatch(self.text)


Line = tuple[str, tuple[Piece, ...]]
"""A line of a row: a part of its label, and a part of each of its cells."""


@dataclass(frozen=True)
class Grid:
    """What LaTeX shows of a table, in letters that it can write.

    Attributes:
        stub: The heading of the row labels.
        spanner: The heading above all columns; empty for none.
        headings: The heading of each column.
        blocks: The lines of each row, by block.
        block_headings: The heading above each block; empty for none.
        is_turned: Whether the rows of the table are the columns here.
    """

    stub: str
    spanner: str
    headings: tuple[str, ...]
    blocks: tuple[tuple[tuple[Line, ...], ...], ...]
    block_headings: tuple[str, ...]
    is_turned: bool = False

    def column(self, index: int) -> list[Piece]:
        """Every line of every cell of a column."""
        return [pieces[index] for rows in self.blocks for row in rows for _, pieces in row]

    @functools.cached_property
    def are_decimal(self) -> list[bool]:
        """Whether a column has numbers, which are aligned at the decimal point."""
        return [any(piece.number for piece in self.column(index)) for index in range(len(self.headings))]

    @functools.cached_property
    def digits(self) -> list[int]:
        """The digits before the decimal point of each column's standard deviations: two at most, and no outliers."""
        found = ([SECOND.findall(piece.text) for piece in self.column(index)] for index in range(len(self.headings)))
        return [min(2, max((len(each) for texts in column for each in texts), default=0)) for column in found]

    @functools.cached_property
    def heading_lines(self) -> list[list[str]]:
        """The lines of each column's heading, which is no wider than it must be."""
        found = []
        for index, heading in enumerate(self.headings):
            body = max((len(piece.text) for piece in self.column(index)), default=0)
            word = max(map(len, re.split("[ -]", heading)))
            found.append(lines_of(heading, max(HEADING, body, min(word, LONGEST_WORD))))
        return found

    @functools.cached_property
    def spanner_lines(self) -> list[str]:
        return self._fill(self.spanner, sum(self.column_widths)) if self.spanner and self.headings else []

    @functools.cached_property
    def column_widths(self) -> list[float]:
        """The width of each column in points, with the gap before it."""
        return [GAP + self._width(index) for index in range(len(self.headings))]

    def _width(self, index: int) -> float:
        texts = (points(piece.text) * _boldness(piece) for piece in self.column(index) if not piece.number)
        return max(sum(self._sides(index)), *map(points, self.heading_lines[index]), *texts)

    def _sides(self, index: int) -> tuple[float, float]:
        """The width in points before the decimal point, and that of the rest."""
        pieces = [piece for piece in self.column(index) if piece.number]
        return max(map(_left, pieces), default=0.0), max(map(_right, pieces), default=0.0)

    @functools.cached_property
    def indents(self) -> list[tuple[Piece | None, float]]:
        """For each column, the piece that is widest before the decimal point, and a space in points.

        The space stands before this piece. It moves all numbers of the column below the middle of a wide heading.
        """
        found: list[tuple[Piece | None, float]] = []
        for index, width in enumerate(self.column_widths):
            pieces = [piece for piece in self.column(index) if piece.number]
            widest = max(pieces, key=_left, default=None)
            found.append((widest, (width - GAP - sum(self._sides(index))) / 2))
        return found

    @property
    def stub_lines(self) -> list[str]:
        return lines_of(self.stub, LABEL)

    @functools.cached_property
    def stub_width(self) -> float:
        labels = (label for rows in self.blocks for row in rows for label, _ in row[:1])
        further = (label for rows in self.blocks for row in rows for label, _ in row[1:])  # these are indented
        widths = (*map(points, (*self.stub_lines, *labels)), *(points(label) + SIZE for label in further))
        return STUB_GAP - GAP + max(widths)

    @property
    def width(self) -> float:
        """The width of the whole table in points. The heading above all columns may be wider than the columns."""
        above = (GAP + points(line) for line in self.spanner_lines)
        return self.stub_width + max([sum(self.column_widths), *above])

    @property
    def head_height(self) -> float:
        own = max(map(len, (*self.heading_lines, self.stub_lines)))
        return LINE * (len(self.spanner_lines) + own) + 4 * RULE

    @property
    def height(self) -> float:
        """The height in points, from the first rule to the last."""
        rows = sum(row_height(row) for rows in self.blocks for row in rows)
        headings = sum(LINE * len(self.block_heading_lines(heading)) for heading in self.block_headings)
        return self.head_height + rows + headings + RULE * len(self.blocks)

    def block_heading_lines(self, heading: str) -> list[str]:
        return self._fill(heading, self.width) if heading else []

    @staticmethod
    def _fill(heading: str, width: float) -> list[str]:
        """The lines of a heading that is at most `width` points wide."""
        return lines_of(heading, max(LABEL, int(width / (0.6 * _EM))))

    def columns(self, start: int, stop: int) -> Grid:
        """The grid with some of its columns."""
        blocks = tuple(
            tuple(tuple((label, pieces[start:stop]) for label, pieces in row) for row in rows) for rows in self.blocks
        )
        return replace(self, headings=self.headings[start:stop], blocks=blocks)


def _left(piece: Piece) -> float:
    """The width in points before the decimal point. The sign of a bracketed difference stands in the gap before it."""
    found = piece.number
    text = "" if found is None else found["digits"] if found["open"] else found["sign"] + found["digits"]
    return points(text) * _boldness(piece)


def _right(piece: Piece) -> float:
    found = piece.number
    return 0.0 if found is None else points(found["decimals"] + found["rest"]) * _boldness(piece)


def _boldness(piece: Piece) -> float:
    return _BOLDER if piece.bold else 1.0


def row_height(row: Sequence[Line]) -> float:
    return LINE * len(row) + ROW_GAP * (len(row) > 1)


def lines_of(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` characters. No line divides `a = b`. An empty text is one empty line."""
    return textwrap.wrap(text.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"), width) or [""]


def points(text: str) -> float:
    """The width of a text in points."""
    return _EM * sum(_WIDTHS.get(each, 0.5 if each.isascii() else 0.8) for each in text)
