"""The table and the figures of a comparison as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from analysis.output.rendering import Rendering, draw_and_save, folder_of, remove_older, write_table
from analysis.render import render_table

if TYPE_CHECKING:
    from analysis.compare.comparison import Comparison


def render_comparison(compared: Comparison, out: Path, notes: str = "full", siunitx: bool = False) -> Rendering:
    """Write the table of a comparison and its figures into `out/compare/<sweep>/`.

    `table.md|tex|csv` is the table, `figure.png|pdf|svg` shows the means, and `differences.png|pdf|svg` the differences
    to the first side. Where there is no such figure now, an older one is removed.

    Raises:
        UserError: where the folder cannot be written to.
    """
    from analysis.compare import figures
    from analysis.compare.table import comparison_table

    sweep = compared.layout.name
    table, crowd = comparison_table(compared), figures.too_many_rows(compared)
    folder = folder_of(out / "compare", sweep)
    paths = write_table(table, folder, "table", notes=notes, siunitx=siunitx)
    remarks = [crowd]
    for name in figures.FIGURES:
        drawn = draw_and_save(compared, name, folder, name)
        paths |= drawn
        remarks += [] if drawn else [remove_older(folder, name)]
    note = "\n".join(filter(None, remarks))
    return Rendering(sweep, render_table(table, "text", notes), render_table(table, notes=notes), paths, note)
