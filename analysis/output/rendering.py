"""How a table or a figure becomes files, and what was written for a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.render import draw_figure, render_table
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.compare.comparison import Comparison
    from analysis.sweep.results import SweepResults
    from analysis.table import Table

TABLE_SUFFIXES = {"md": "markdown", "tex": "latex", "csv": "csv"}
FIGURE_FORMATS = ("png", "pdf", "svg")
EVERY_FORMAT = (*TABLE_SUFFIXES, *FIGURE_FORMATS)


@dataclass(frozen=True)
class Rendering:
    """What was written for a sweep.

    Attributes:
        sweep: The name of the sweep, or of a table of the paper.
        text: The table for a terminal of 100 columns.
        markdown: The table in Markdown.
        paths: The path of each file by its name.
        note: A line for each figure that is left out, with the reason, and for each older figure that was removed.
        diagnostic: What the variances of a sweep's table have in common.
    """

    sweep: str
    text: str
    markdown: str
    paths: Mapping[str, Path]
    note: str = ""
    diagnostic: str = ""

    def where(self) -> str:
        """A line per table and figure that says where it is: `table: DIR/table.md (.tex, .csv)`."""
        kinds: dict[str, list[Path]] = {}
        for name, path in self.paths.items():
            kinds.setdefault(name.rpartition(".")[0], []).append(path)
        lines = [
            f"{kind}: {first} ({', '.join(path.suffix for path in others)})" for kind, (first, *others) in kinds.items()
        ]
        return "\n".join([*lines, *([self.note] if self.note else [])])


def folder_of(out: Path, sweep: str) -> Path:
    """The folder `out/<sweep>`, which is created if needed."""
    return files.make_folder(path_of(out, sweep))


def path_of(out: Path, sweep: str) -> Path:
    """`out/<sweep>`. The name may come from a file of someone else, so it must not lead to another folder."""
    if Path(sweep).name != sweep or sweep in ("", ".."):
        raise UserError(f"the name of the sweep {sweep!r} cannot name a folder; it must be a plain name, without '/'")
    return out / sweep


def write_table(
    table: Table, folder: Path, stem: str, name: str = "table", notes: str = "full", siunitx: bool = False
) -> dict[str, Path]:
    """Write `table` in every format, and return the paths by the names `name.md`, `name.tex` and `name.csv`."""
    paths = {}
    for suffix, kind in TABLE_SUFFIXES.items():
        paths[f"{name}.{suffix}"] = folder / f"{stem}.{suffix}"
        files.write_text(paths[f"{name}.{suffix}"], render_table(table, kind, notes, siunitx))
    return paths


def draw_and_save(
    results: SweepResults | Comparison, name: str, folder: Path, stem: str, **look: Any
) -> dict[str, Path]:
    """Write the figure `name` in every format. Nothing is written if there is nothing to draw."""
    from analysis.sweep.figures import NothingToDrawError

    try:
        ax = draw_figure(results, name, **look)
    except NothingToDrawError:
        return {}
    return save_figure(ax, folder, stem)


def save_figure(ax: Axes, folder: Path, stem: str) -> dict[str, Path]:
    """Save the figure of `ax` in every format, and return the paths by their names, such as `figure.png`."""
    from analysis.figures import kinds

    paths = {f"{stem}.{suffix}": files.make_folder(folder) / f"{stem}.{suffix}" for suffix in FIGURE_FORMATS}
    for path in paths.values():
        kinds.write(ax, path)
    return paths


def remove_older(folder: Path, stem: str, suffixes: Iterable[str] = FIGURE_FORMATS) -> str:
    """Remove the files of an earlier rendering that this one did not make again, and say so.

    Beside a new table, an older figure would look as if it showed the same results.
    """
    older = [path for suffix in suffixes if (path := folder / f"{stem}.{suffix}").is_file()]
    for path in older:
        path.unlink(missing_ok=True)
    if not older:
        return ""
    first, *others = older
    more = f" ({', '.join(path.suffix for path in others)})" if others else ""
    return f"removed {first}{more}, because it showed earlier results"
