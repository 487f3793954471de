"""Renders a sweep: `table.md|tex|csv` and `figure.png|pdf|svg` beside its `cells.json`.

Importing this module loads nothing heavy; `render` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_xvol import files
from lightning_xvol.errors import UserError, nearest

if TYPE_CHECKING:
    from analysis.sources.collection import Collection
    from analysis.tables import Table

SELECT = ("last", "best")
INTERVALS = ("t", "bootstrap")
FIGURE_FORMATS = ("png", "pdf", "svg")
PAPER_TABLES = (1, 2, 3, 4, 5, 6, 7)
WITHOUT_RUNS = (5, 7)


@dataclass(frozen=True)
class Rendering:
    """The renderings of a sweep: `text` for a terminal of 100 columns, `markdown`, and the path of each file."""

    sweep: str
    text: str
    markdown: str
    paths: Mapping[str, Path]

    def where(self) -> str:
        """Lines that say where the renderings lie: `table: DIR/table.md (.tex, .csv)`, and the figure's."""
        lines = []
        for kind in ("table", "figure"):
            paths = [path for name, path in self.paths.items() if name.startswith(kind)]
            if paths:
                first, *others = paths
                lines.append(f"{kind}: {first} ({', '.join(path.suffix for path in others)})")
        return "\n".join(lines)


def render(
    sources: Collection, sweep: str, out: Path, select: str = "last", interval: str = "t", adjust: bool = False
) -> Rendering:
    """Render the sweep `sweep` of `sources` into `out/<sweep>/`; `interval` and `adjust` are those of `summary_of`.

    Raises:
        UserError: where there is no such sweep, its results do not belong together, or the folder cannot be written to.
    """
    if select not in SELECT:
        raise UserError(f"select={select!r} must be one of {', '.join(SELECT)}{nearest(select, SELECT)}")
    from analysis import figures, sweep_table

    settings, frame = sources.load(sweep)
    summary = sweep_table.summary_of(settings, frame, select, interval, adjust)
    table = sweep_table.sweep_table(settings, frame, summary, select)
    folder = files.make_folder(out / sweep)
    paths = _write(table, folder, "table")
    kind = settings.figure.get("kind")
    if kind is not None:
        if kind not in figures.KINDS:
            raise UserError(f"sweep {sweep!r} asks for a figure {kind!r}; known kinds: {', '.join(figures.KINDS)}")
        points, x, label = sweep_table.points(sources, settings, frame, summary)
        ax = figures.KINDS[kind](points, x, label, settings.metric_label, smoke=settings.smoke)
        for suffix in FIGURE_FORMATS:
            paths[f"figure.{suffix}"] = folder / f"figure.{suffix}"
            figures.write(ax, paths[f"figure.{suffix}"])
    return Rendering(sweep, table.to_text(), table.to_markdown(), paths)


def render_paper(
    sources: Collection | None, numbers: Sequence[int], out: Path, select: str = "last"
) -> list[Rendering]:
    """Render tables of the paper into `out/paper/`, one for each data that there are runs of; 5 and 7 need none.

    Without `numbers` those that there are runs for.

    Raises:
        UserError: where there are no runs for one of `numbers`, or for any, or two configurations claim one row.
    """
    from analysis import paper_tables, recipe_tables
    from analysis.printed_rows import SWEEPS, pools

    tables = []
    for number in numbers or [number for number in PAPER_TABLES if number not in WITHOUT_RUNS]:
        if number in WITHOUT_RUNS:
            tables.append(recipe_tables.table_5() if number == 5 else recipe_tables.table_7())
            continue
        found = pools(sources, str(number), select) if sources is not None else []
        made = paper_tables.paper_tables(number, found, select)
        if numbers and not made:
            places = "; ".join(pool.data for pool in found) or "the sources"
            raise UserError(f"Table {number}: {places}: no finished run of {' or '.join(SWEEPS[str(number)])} for it")
        tables += made
    if not tables:
        raise UserError("the sources hold no finished run of a table of the paper; `tables` without --paper shows them")
    folder = files.make_folder(out / "paper")
    return [
        Rendering(table.name, table.to_text(), table.to_markdown(), _write(table, folder, table.name))
        for table in tables
    ]


def _write(table: Table, folder: Path, stem: str) -> dict[str, Path]:
    texts = {"md": table.to_markdown(), "tex": table.to_latex(), "csv": table.to_csv()}
    paths = {f"table.{suffix}": folder / f"{stem}.{suffix}" for suffix in texts}
    for suffix, text in texts.items():
        files.write_text(paths[f"table.{suffix}"], text)
    return paths
