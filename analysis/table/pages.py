"""How a table lies on a page: as it is, turned (rows and columns swapped), in panels, or in parts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.table.grid import GAP, LABEL, LINE, TEXT, Grid, Line, Piece, lines_of, row_height
from analysis.table.letters import transliterate

if TYPE_CHECKING:
    from analysis.table import Table, TableCell

TALLEST_TURNED = 380.0
"""In points: a table is not turned if it would become higher than this."""


def panels(table: Table, limits: Sequence[float]) -> list[Grid]:
    """The panels of `table`, for the widths `limits` in points.

    For each width in turn, the table is tried as it is and then turned. A turned table must not become too high. A
    table that fits in no width is divided by columns into panels that fit in the last width.
    """
    plain, turned = _plain(table), _turned(table)
    for limit in limits:
        if plain.width <= limit:
            return [plain]
        if all(grid.width <= limit for grid in turned) and sum(grid.height for grid in turned) <= TALLEST_TURNED:
            return turned
    limit = limits[-1]
    count = len(_spans(plain, limit))
    while limit > plain.stub_width and len(_spans(plain, limit - GAP)) == count:
        limit -= GAP  # so that the panels are about as wide as each other
    return [plain.columns(start, stop) for start, stop in _spans(plain, limit)]


def _spans(grid: Grid, limit: float) -> list[tuple[int, int]]:
    """The columns of each panel, as many as fit in `limit` points, and one at least.

    A heading that several columns have, such as `printed`, needs the column before it. So the two stay together if they
    fit.
    """
    count = len(grid.headings)
    starts = [number for number, heading in enumerate(grid.headings) if grid.headings.count(heading) == 1 or not number]
    groups = list(itertools.pairwise([*starts, count]))
    if grid.stub_width + max(sum(grid.column_widths[start:stop]) for start, stop in groups) > limit:
        groups = [(number, number + 1) for number in range(count)]
    spans: list[tuple[int, int]] = []
    used = math.inf
    for start, stop in groups:
        width = sum(grid.column_widths[start:stop])
        if used + width > limit:
            spans.append((start, start))
            used = grid.stub_width
        used += width
        spans[-1] = (spans[-1][0], stop)
    return spans


def _plain(table: Table) -> Grid:
    return Grid(
        transliterate(table.stub),
        transliterate(table.spanner),
        tuple(map(transliterate, table.columns)),
        tuple(tuple(_lines(label, row) for label, row in block.rows) for block in table.blocks),
        tuple(transliterate(block.heading) for block in table.blocks),
    )


def _turned(table: Table) -> list[Grid]:
    """The table with its rows as columns: a grid for neighbouring blocks with the same rows."""
    alike = itertools.groupby(table.blocks, lambda block: [label for label, _ in block.rows])
    return [
        Grid(
            transliterate(table.spanner),
            "",
            tuple(map(transliterate, labels)),
            tuple(
                tuple(_lines(name, [row[index] for _, row in block.rows]) for index, name in enumerate(table.columns))
                for block in blocks
            ),
            tuple(transliterate(block.heading) for block in blocks),
            is_turned=True,
        )
        for labels, blocks in ((labels, list(found)) for labels, found in alike)
    ]


def _lines(label: str, cells: Sequence[TableCell]) -> tuple[Line, ...]:
    """The lines of a row: remarks are below the value."""
    labels = lines_of(transliterate(label), LABEL)
    columns = [list(_pieces(cell)) for cell in cells]
    height = max([len(labels), *map(len, columns)])
    for column in columns:
        column += [Piece("")] * (height - len(column))
    labels += [""] * (height - len(labels))
    return tuple((name, tuple(column[number] for column in columns)) for number, name in enumerate(labels))


def _pieces(cell: TableCell) -> Iterator[Piece]:
    for number, text in enumerate((cell.value, *(f"({remark})" for remark in cell.remarks))):
        for line in lines_of(transliterate(text), TEXT):
            yield Piece(line, bold=cell.bold and number == 0)


_Block = tuple[str, tuple[tuple[Line, ...], ...]]  # the heading and the rows


def parts(grid: Grid, height: float) -> Iterator[Grid]:
    """`grid` in parts of at most `height` points. A block is cut only if it alone is higher than that."""
    if not grid.blocks:
        yield grid
    pairs = zip(grid.block_headings, grid.blocks, strict=True)
    rest = [block for pair in pairs for block in _cut(*pair, height - grid.head_height - 2 * LINE)]
    while rest:
        taken = len(rest)
        while taken > 1 and _with(grid, rest[:taken]).height > height:
            taken -= 1
        yield _with(grid, rest[:taken])
        rest = rest[taken:]


def _with(grid: Grid, blocks: Sequence[_Block]) -> Grid:
    return replace(grid, block_headings=tuple(name for name, _ in blocks), blocks=tuple(rows for _, rows in blocks))


def _cut(heading: str, rows: Sequence[tuple[Line, ...]], height: float) -> Iterator[_Block]:
    """A block in parts of at most this height. The heading of a further part says that the block goes on."""
    start, used = 0, 0.0
    for number, row in enumerate(rows):
        if number > start and used + row_height(row) > height:
            yield heading, tuple(rows[start:number])
            start, used = number, 0.0
            heading = f"{heading.removesuffix(' (continued)')} (continued)" if heading else ""
        used += row_height(row)
    yield heading, tuple(rows[start:])
