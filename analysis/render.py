"""Renders a sweep: `table.md|tex|csv` and figures as `png|pdf|svg` beside its `cells.json`.

Importing this module loads nothing heavy; `render` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figures.style import SIZES
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger import files

if TYPE_CHECKING:
    import pandas as pd

    from analysis.sources.collection import Collection
    from analysis.sources.frame import SweepLayout
    from analysis.table import Table

SELECT = ("last", "best")
INTERVALS = ("t", "bootstrap")
FIGURES = ("figure", "seeds", "learning")
"""A sweep's own figure, every run beside the means, and the learning curves."""
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
        """Lines that say where the renderings lie: `table: DIR/table.md (.tex, .csv)`, and each figure's."""
        kinds: dict[str, list[Path]] = {}
        for name, path in self.paths.items():
            kinds.setdefault(name.partition(".")[0], []).append(path)
        return "\n".join(
            f"{kind}: {first} ({', '.join(path.suffix for path in others)})" for kind, (first, *others) in kinds.items()
        )


def render(
    sources: Collection, sweep: str, out: Path, select: str = "last", interval: str = "t", adjust: bool = False
) -> Rendering:
    """Render the sweep `sweep` of `sources` into `out/<sweep>/`; `interval` and `adjust` are those of `summary_of`.

    Raises:
        UserError: where there is no such sweep, its results do not belong together, or the folder cannot be written to.
    """
    from analysis.sweep import table as sweep_table

    settings, frame, summary = _load(sources, sweep, select, interval, adjust)
    table = sweep_table.sweep_table(sources, settings, frame, summary, select)
    folder = _folder(out, sweep)
    paths = _write(table, folder, "table")
    paths |= _draw("figure", folder, "figure", sources, settings, frame, summary, select)
    return Rendering(sweep, table.to_text(), table.to_markdown(), paths)


def render_figures(
    sources: Collection, sweep: str, out: Path, names: Sequence[str] = FIGURES, size: str | None = None,
    select: str = "last",
) -> Rendering:  # fmt: skip
    """Draw the figures `names` of the sweep `sweep` into `out/<sweep>/`, without its table.

    `size` is one of `analysis.figures.style.SIZES` and stands in the names of the files; without it each figure has the
    width that suits it. One that there are no runs for is left out.

    Raises:
        UserError: as `render`.
    """
    settings, frame, summary = _load(sources, sweep, select)
    folder = _folder(out, sweep)
    paths: dict[str, Path] = {}
    for name in names:
        stem = name if size is None else f"{name}-{size}"
        paths |= _draw(name, folder, stem, sources, settings, frame, summary, select, size and SIZES[size])
    return Rendering(sweep, "", "", paths)


def _folder(out: Path, sweep: str) -> Path:
    """`out/<sweep>`. The name may come from a file that someone else wrote: it must not lead elsewhere."""
    if Path(sweep).name != sweep or sweep in ("", ".."):
        raise UserError(f"the sweep {sweep!r} cannot have a folder of its name: a plain name is needed, without '/'")
    return files.make_folder(out / sweep)


def _load(
    sources: Collection, sweep: str, select: str, interval: str = "t", adjust: bool = False
) -> tuple[SweepLayout, pd.DataFrame, pd.DataFrame]:
    """The sweep, its frame and its summary."""
    if select not in SELECT:
        raise UserError(f"select={select!r} must be one of {', '.join(SELECT)}{nearest(select, SELECT)}")
    from analysis.sweep import table as sweep_table

    settings, frame = sources.load(sweep)
    return settings, frame, sweep_table.summary_of(settings, frame, select, interval, adjust)


def _draw(name: str, folder: Path, stem: str, *what: Any) -> dict[str, Path]:
    """The figure `name` in every format; `what` is what `sweep_figures.figure` takes beside the name."""
    from analysis import figures
    from analysis.sweep import figures as sweep_figures

    ax = sweep_figures.figure(name, *what)
    if ax is None:
        return {}
    paths = {f"{stem}.{suffix}": folder / f"{stem}.{suffix}" for suffix in FIGURE_FORMATS}
    for path in paths.values():
        figures.write(ax, path)
    return paths


def render_paper(
    sources: Collection | None, numbers: Sequence[int], out: Path, select: str = "last"
) -> list[Rendering]:
    """Render tables of the paper into `out/paper/`, one for each data that there are runs of; 5 and 7 need none.

    Without `numbers` those that there are runs for.

    Raises:
        UserError: where there are no runs for one of `numbers`, or for any, or two configurations claim one row.
    """
    from analysis.paper import tables as paper_tables
    from analysis.paper import tables_without_runs as recipe_tables
    from analysis.paper.pools import SWEEPS, pools

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
