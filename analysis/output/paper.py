"""The tables of the paper as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.output.rendering import Rendering, write_table
from analysis.render import PAPER_TABLES, WITHOUT_RUNS, render_table
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files

if TYPE_CHECKING:
    from analysis.sources.collection import Collection


def render_paper(
    sources: Collection | None, numbers: Sequence[int], out: Path, select: str = "last",
    only: Mapping[str, Sequence[str]] | None = None, metrics: Sequence[str] = (), notes: str = "full",
    siunitx: bool = False,
) -> list[Rendering]:  # fmt: skip
    """Write tables of the paper into `out/paper/`, one file per table and data set. Tables 5 and 7 need no runs.

    Without `numbers`, it writes the tables that have runs. `only` chooses rows by `operator`, and `metrics` the metrics
    that are shown. Tables 5 and 7 have neither. `notes` and `siunitx` are those of `render_table`.

    Raises:
        UserError: if there are no runs for one of `numbers`, or for any table without `numbers`; if two configurations
            are the same row; or for an operator or a metric that the paper does not have.
    """
    from analysis.paper import tables as paper_tables
    from analysis.paper import tables_without_runs
    from analysis.paper.pools import SWEEPS, pools
    from analysis.paper.shown import Shown

    shown = Shown.of(only or {}, metrics)
    tables = []
    for number in numbers or [number for number in PAPER_TABLES if number not in WITHOUT_RUNS]:
        if number in WITHOUT_RUNS:
            tables.append(tables_without_runs.table_5() if number == 5 else tables_without_runs.table_7())
            continue
        found = pools(sources, str(number), select) if sources is not None else []
        made = paper_tables.paper_tables(number, found, select, shown)
        if numbers and not made:
            _raise_left_out(sources, SWEEPS[str(number)])
            where = "; ".join(pool.data for pool in found) or "the sources"
            asked = "" if shown.all else ", or nothing of what is asked for"
            runs = f"no finished run of {' or '.join(SWEEPS[str(number)])} for it"
            raise UserError(f"Table {number}: {where}: {runs}{asked}")
        tables += made
    if not tables:
        _raise_left_out(sources, [name for names in SWEEPS.values() for name in names])
        raise UserError("the sources hold no finished run of a table of the paper; leave --paper out to see the sweeps")
    folder = files.make_folder(out / "paper")
    return [
        Rendering(table.name, render_table(table, "text", notes), render_table(table, notes=notes), paths)
        for table in tables
        if (paths := write_table(table, folder, table.name, notes=notes, siunitx=siunitx))
    ]


def _raise_left_out(sources: Collection | None, names: Sequence[str]) -> None:
    """Raise the reason why a sweep of one of these names cannot be read, where there is one."""
    for error in sources.left_out(names) if sources is not None else ():
        raise error
