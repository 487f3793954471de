"""The table and the figures of a sweep as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figures.style import SANS
from analysis.output.rendering import Rendering, draw_and_save, folder_of, path_of, remove_older, write_table
from analysis.render import FIGURES, load_sweep, render_table
from lightning_xvol.errors import UserError

if TYPE_CHECKING:
    from analysis.sources.collection import Sources


def render(
    sources: Sources, sweep: str, out: Path, select: str = "last", interval: str = "moderated",
    only: Mapping[str, Sequence[Any]] | None = None, metrics: Sequence[str] = (), notes: str = "full",
    siunitx: bool = False,
) -> Rendering:  # fmt: skip
    """Write `table.md|tex|csv` and the figure of a sweep as `png|pdf|svg` into `out/<sweep>/`.

    Where the sweep has no figure now, an older one is removed, and a note says so. `notes` and `siunitx` are those of
    `render_table`.

    Raises:
        UserError: as `load_sweep`, or where the folder cannot be written to.
    """
    results = load_sweep(sources, sweep, select, interval, only, metrics)
    from analysis.sweep.table import sweep_table

    table = sweep_table(results)
    from analysis.sweep.figures import too_many_rows  # with matplotlib, which no error of the sweep waits for

    folder = folder_of(out, sweep)
    paths = write_table(table, folder, "table", notes=notes, siunitx=siunitx)
    drawn = draw_and_save(results, "figure", folder, "figure")
    removed = "" if drawn else remove_older(folder, "figure")
    note = "\n".join(filter(None, [too_many_rows(results), removed]))
    text, markdown = render_table(table, "text", notes), render_table(table, notes=notes)
    return Rendering(sweep, text, markdown, paths | drawn, note, results.diagnostic())


def render_figures(
    sources: Sources, sweep: str, out: Path, names: Sequence[str] = FIGURES, size: str | None = None,
    select: str = "last", interval: str = "moderated", only: Mapping[str, Sequence[Any]] | None = None,
    metrics: Sequence[str] = (), style: str = SANS, caption: bool = True,
) -> Rendering:  # fmt: skip
    """Draw the figures `names` of the sweep `sweep` into `out/<sweep>/`, without its table.

    `size`, `style` and `caption` are those of `draw_figure`, but a size in inches is a text such as `3.5x2.4`. The
    names of the files contain the size. Without a size, each figure has the width that suits it. A figure without runs
    is left out. A figure that does not fit into its size is also left out, and a note says so. Where a figure is left
    out, an older one is removed.

    Raises:
        UserError: as `render`, and where none of the figures has room in the size; nothing is written then.
    """
    results = load_sweep(sources, sweep, select, interval, only, metrics)
    from analysis.figures.common import TooSmallError
    from analysis.sweep.figures import too_many_rows

    folder = path_of(out, sweep)
    paths: dict[str, Path] = {}
    notes = [note for note in [too_many_rows(results)] if note]
    too_small, left_out = [], []
    for name in names:
        stem = name if size is None else f"{name}-{size}"
        try:
            drawn = draw_and_save(results, name, folder, stem, size=size, style=style, caption=caption)
        except TooSmallError as error:
            too_small.append(f"{name}: {error}")
            drawn = {}
        paths |= drawn
        left_out += [] if drawn else [stem]
    if too_small and not paths:
        raise UserError(f"sweep {sweep!r}: {'; '.join(too_small)}")
    notes += [*too_small, *filter(None, (remove_older(folder, stem) for stem in left_out))]
    return Rendering(sweep, "", "", paths, note="\n".join(notes))
