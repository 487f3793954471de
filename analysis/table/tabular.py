"""A grid as one `tabular` of LaTeX, with numbers aligned at the decimal point."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analysis import numbers
from analysis.table.grid import ROW_GAP, SECOND, SIZE, STUB_GAP, Grid, Line, Piece
from analysis.table.letters import escape_latex

_SIUNITX = "detect-weight,retain-explicit-plus,table-align-text-pre=false,table-number-alignment=right"
"""Bold numbers, the plus of a difference, its bracket beside the number, and no space after the number."""


def tabular(grid: Grid, siunitx: bool = False) -> str:
    """The environment `tabular`. A column of numbers is two columns of LaTeX, which meet at the decimal point.

    With `siunitx`, the first column is of the kind `S` and holds the number. The second one holds what follows it.
    """
    kinds = rf"@{{}}l@{{\hspace{{{STUB_GAP:g}pt}}}}{_columns(grid, siunitx)}@{{}}"
    lines = [r"\toprule", *_head(grid), *_body(grid, siunitx), r"\bottomrule"]
    rows = "\n".join(f"    {line}" for line in lines)
    return f"  \\begin{{tabular}}{{{kinds}}}\n{rows}\n  \\end{{tabular}}"


def _columns(grid: Grid, siunitx: bool) -> str:
    kinds = []
    for index, decimal in enumerate(grid.are_decimal):
        pieces = grid.column(index)
        if not decimal:
            kinds.append("l" if any(len(piece.text) > 12 for piece in pieces) else "c")
        elif siunitx:
            kinds.append(rf"S[table-format={_format(pieces)},{_SIUNITX}]@{{}}l")
        else:
            kinds.append("r@{}l")
    return "".join(f" {kind}" for kind in kinds)


def _format(pieces: Sequence[Piece]) -> str:
    """The sign, the digits (and a bracket) and the decimals that siunitx makes room for: `-2.1`."""
    found = [piece.number for piece in pieces if piece.number]
    sign = "-" if any(number["sign"] for number in found) else ""
    decimals = max(len(number["decimals"].removeprefix(".")) for number in found)
    digits = max(len(number["open"] + number["digits"]) for number in found)
    return f"{sign}{digits}" + (f".{decimals}" if decimals else "")


def _head(grid: Grid) -> Iterator[str]:
    total = sum(2 if decimal else 1 for decimal in grid.are_decimal)
    for text in grid.spanner_lines:
        yield _row("", [_across(text, total)])
    if grid.spanner_lines:
        yield rf"\cmidrule(lr){{2-{total + 1}}}"
    for stub, *texts in _from_below([grid.stub_lines, *grid.heading_lines]):
        kinds = zip(texts, grid.are_decimal, strict=True)
        yield _row(stub, [_across(text, 2) if decimal else escape_latex(text) for text, decimal in kinds])


def _from_below(columns: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """The lines of neighbouring headings that end in the same line."""
    height = max(map(len, columns))
    yield from map(list, zip(*([""] * (height - len(lines)) + list(lines) for lines in columns), strict=True))


def _body(grid: Grid, siunitx: bool) -> Iterator[str]:
    total = 1 + sum(2 if decimal else 1 for decimal in grid.are_decimal)
    for heading, rows in zip(grid.block_headings, grid.blocks, strict=True):
        yield r"\midrule"
        for text in grid.block_heading_lines(heading):
            yield rf"\multicolumn{{{total}}}{{@{{}}l@{{}}}}{{\emph{{{escape_latex(text)}}}}} \\"
        for row in rows:
            for number, line in enumerate(row):
                gap = f"[{ROW_GAP:g}pt]" if number and number == len(row) - 1 else ""
                yield _line(grid, line, number > 0, siunitx) + gap


def _line(grid: Grid, line: Line, is_further: bool, siunitx: bool) -> str:
    label, pieces = line
    cells = []
    for index, piece in enumerate(pieces):
        widest, indent = grid.indents[index]
        space = rf"\hspace*{{{indent / SIZE:.2f}em}}" if piece is widest and indent > 1 and not siunitx else ""
        cells.append(space + _cell(piece, grid.are_decimal[index], grid.digits[index], siunitx))
    return _row(label, cells, r"\quad " if is_further and label else "")


def _row(label: str, cells: Sequence[str], indent: str = "") -> str:
    return indent + " & ".join([escape_latex(label), *cells]) + r" \\"


def _across(text: str, width: int) -> str:
    return rf"\multicolumn{{{width}}}{{c}}{{{escape_latex(text)}}}" if text else "&" * (width - 1)


def _cell(piece: Piece, is_decimal: bool, digits: int, siunitx: bool) -> str:
    number = piece.number
    if not is_decimal:
        return _bold(escape_latex(piece.text), piece.bold)
    if not piece.text:
        return "&"
    if number is None:
        return rf"\multicolumn{{2}}{{c}}{{{_bold(escape_latex(piece.text), piece.bold)}}}"
    return _number(number, piece.bold, digits, siunitx)


def _number(number: re.Match[str], bold: bool, digits: int, siunitx: bool) -> str:
    """The two cells of a number. The bracket and the sign of a difference stand in the gap before the column."""
    opened, sign, whole, decimals, rest = number.group("open", "sign", "digits", "decimals", "rest")
    if siunitx:
        before = r"\bfseries " * bold + "{(}" * bool(opened)
        first, second = before + sign.replace(numbers.MINUS, "-") + whole + decimals, rest
    else:
        hung = rf"\llap{{{escape_latex(opened + sign)}}}" if opened else escape_latex(sign)
        first, second = _bold(hung + whole, bold), decimals + rest
    return f"{first} & {_bold(_padded(second, digits), bold)}"


def _padded(rest: str, digits: int) -> str:
    """`rest` with room for so many digits after ±."""
    parts = list(map(escape_latex, SECOND.split(rest)))
    for index in range(1, len(parts), 2):
        lacking = digits - len(parts[index])
        parts[index] = (rf"\phantom{{{'0' * lacking}}}" if lacking > 0 else "") + parts[index]
    text = "".join(parts)
    return f"~{text.lstrip()}" if text.startswith(" ") else text  # LaTeX drops a space at the start of a cell


def _bold(text: str, bold: bool) -> str:
    return rf"\textbf{{{text}}}" if bold and text else text
