"""Renders a sweep: `table.md|tex|csv` and `figure.png|pdf|svg` beside its `cells.json`.

Importing this module loads nothing heavy; `render` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_xvol import files
from lightning_xvol.errors import UserError, nearest

if TYPE_CHECKING:
    from analysis.sources.collection import Collection

SELECT = ("last", "best")
FIGURE_FORMATS = ("png", "pdf", "svg")


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


def render(sources: Collection, sweep: str, out: Path, select: str = "last") -> Rendering:
    """Render the sweep `sweep` of `sources` into `out/<sweep>/`.

    Raises:
        UserError: where there is no such sweep, its results do not belong together, or the folder cannot be written to.
    """
    if select not in SELECT:
        raise UserError(f"select={select!r} must be one of {', '.join(SELECT)}{nearest(select, SELECT)}")
    from analysis import figures, sweep_table

    settings, frame = sources.load(sweep)
    summary = sweep_table.summary_of(settings, frame, select)
    table = sweep_table.sweep_table(settings, frame, summary, select)
    folder = files.make_folder(out / sweep)
    paths = {}
    texts = {"table.md": table.to_markdown(), "table.tex": table.to_latex(), "table.csv": table.to_csv()}
    for name, text in texts.items():
        paths[name] = folder / name
        files.write_text(paths[name], text)
    kind = settings.figure.get("kind")
    x = settings.figure_x
    if kind is not None and x is not None:
        if kind not in figures.KINDS:
            raise UserError(f"sweep {sweep!r} asks for a figure {kind!r}; known kinds: {', '.join(figures.KINDS)}")
        ax = figures.KINDS[kind](summary, x, settings.axis_label(x), settings.metric_label, smoke=settings.smoke)
        for suffix in FIGURE_FORMATS:
            paths[f"figure.{suffix}"] = folder / f"figure.{suffix}"
            figures.write(ax, paths[f"figure.{suffix}"])
    return Rendering(sweep, table.to_text(), table.to_markdown(), paths)
