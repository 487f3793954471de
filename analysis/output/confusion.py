"""The predictions of a sweep as files: per-class accuracy and confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.figures.style import SANS
from analysis.output.rendering import EVERY_FORMAT, Rendering, folder_of, remove_older, save_figure, write_table
from analysis.render import load_sweep, render_table

if TYPE_CHECKING:
    from analysis.sources.collection import Sources


def render_confusion(
    sources: Sources, sweep: str, out: Path, only: Sequence[tuple[str, str]] = (), problems: list[str] | None = None,
    style: str = SANS, caption: bool = True, notes: str = "full", siunitx: bool = False,
) -> Rendering:  # fmt: skip
    """Write the predictions of the runs of a sweep, as tables and figures, into `out/<sweep>/`.

    `classes.md|tex|csv` have the accuracy on each class of each row, and `confusion-<row>.md|tex|csv|png|pdf|svg` the
    confusion matrix of a row. An older matrix of a row that has no predictions now is removed. A sweep without
    predictions gets no file, and the text of the result says so.

    Args:
        sources: As in `load_sweep`.
        sweep: The name of the sweep.
        out: The folder of the results.
        only: Chooses rows by pairs of a key (`operator` or an axis) and its values: `("kernel_size", "3,5")`.
        problems: Takes a sentence for each file of predictions that cannot be used.
        style, caption, notes, siunitx: As in `draw_figure` and `render_table`.

    Raises:
        UserError: as `load_sweep`, for an unknown key or value in `only`, or where runs of one row have other classes.
    """
    results = load_sweep(sources, sweep)
    from analysis.figures import kinds
    from analysis.sweep import confusion

    paths: dict[str, Path] = {}
    found: list[confusion.ByClass] = []
    chosen = confusion.chosen(results, only)
    for group in confusion.confusions(results, chosen, [] if problems is None else problems):
        folder = folder_of(out, sweep)
        stem = f"confusion-{group.stem}"
        if f"{stem}.md" in paths:  # names that differ in other characters than letters and digits
            stem = f"{stem}-{len(found)}"
        paths |= write_table(confusion.matrix_table(group), folder, stem, stem, notes, siunitx)
        paths |= save_figure(kinds.confusion(confusion.chart(group, style, caption)), folder, stem)
        found.append(confusion.ByClass.of(group))
    if not found:
        return Rendering(sweep, confusion.none_found(results), "", {})
    table, folder = confusion.class_table(results, found), folder_of(out, sweep)
    paths = write_table(table, folder, "classes", "classes", notes, siunitx) | paths
    stems = [f"confusion-{confusion.stem_of(results.layout, group)}" for group in chosen.to_dict("records")]
    removed = [remove_older(folder, stem, EVERY_FORMAT) for stem in stems if f"{stem}.md" not in paths]
    note = "\n".join(filter(None, removed))
    return Rendering(sweep, render_table(table, "text", notes), render_table(table, notes=notes), paths, note)
