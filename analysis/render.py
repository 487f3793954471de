"""A sweep in memory and in files. Importing this module loads nothing heavy; its functions do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figures.style import FONTS, SANS, Size, read_size
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.compare.comparison import Comparison
    from analysis.sources.collection import Collection, Sources
    from analysis.sweep.results import SweepResults
    from analysis.table import Table

SELECT = ("last", "best")
INTERVALS = ("moderated", "t")
NOTES = ("full", "short", "none")
"""The footnotes of a table: all of them; a sentence on estimator and n, one on the data, and warnings; or none."""
FIGURES = ("figure", "seeds", "learning")
"""A sweep's own figure, every run beside the means, and the learning curves."""
FIGURE_FORMATS = ("png", "pdf", "svg")
TABLE_FORMATS = ("markdown", "latex", "csv", "text")
PAPER_TABLES = (1, 2, 3, 4, 5, 6, 7)
WITHOUT_RUNS = (5, 7)


def load_sweep(
    sources: Sources, name: str, select: str = "last", interval: str = "moderated",
    only: Mapping[str, Sequence[Any]] | None = None, metrics: Sequence[str] = (),
) -> SweepResults:  # fmt: skip
    """The sweep `name`, its runs and their means.

    Args:
        sources: A source or several: the `--out` folder of a sweep, an archive, a folder of W&B runs, `wandb:NAME`.
        name: The sweep, for example `kernel_size`.
        select: Which evaluation of a run counts: `last` or `best`.
        interval: How intervals are computed: `moderated`, with variances pooled over the table, or Student's `t`.
        only: The rows and columns that are shown, as `{"operator": ["convolution"], "kernel_size": [3]}`. The
            statistics are those of the whole table.
        metrics: The metrics that are shown instead of the sweep's own, by their names in records.

    Returns:
        An object with `layout` (title, metric, axes, row labels), `frame` (a row per run and metric) and `summary` (a
        row per row of the table).

    Raises:
        UserError: for an unknown sweep, results that do not belong together, or an unknown value of an argument.
    """
    _check("select", select, SELECT)
    _check("interval", interval, INTERVALS)
    from analysis.sources.collection import collect
    from analysis.sweep.results import SweepResults

    collection = collect(sources)
    texts = {key: [str(value) for value in values] for key, values in (only or {}).items()}
    return SweepResults.of(collection, *collection.load(name), select, interval, texts, metrics)


def render_table(
    sweep: SweepResults | Table, format: str = "markdown", notes: str = "full", siunitx: bool = False
) -> str:
    """The table of a sweep, with caption and footnotes, as text.

    Args:
        sweep: The result of `load_sweep`, or a table of the paper.
        format: `markdown`, `latex`, `csv` (the numbers in full precision), or `text` for a terminal.
        notes: The footnotes: `full`, `short` (a sentence on estimator and n, one on the data, and warnings) or `none`.
        siunitx: Whether LaTeX's package siunitx aligns the numbers. The document must load it.

    Raises:
        UserError: for an unknown format or unknown notes.
    """
    _check("format", format, TABLE_FORMATS)
    check_notes(notes)
    from analysis.sweep.table import sweep_table
    from analysis.table import Table

    table = sweep if isinstance(sweep, Table) else sweep_table(_check_sweep(sweep))
    table = table.with_notes(notes)
    return table.to_latex(siunitx) if format == "latex" else str(getattr(table, f"to_{format}")())


def draw_figure(
    sweep: SweepResults,
    kind: str | None = None,
    ax: Axes | None = None,
    size: tuple[float, float] | str | None = None,
    style: str = SANS,
    caption: bool = True,
) -> Axes:
    """Draw a figure of a sweep.

    Args:
        sweep: The result of `load_sweep`.
        kind: `lines`, `facets`, `scatter`, `groups`, `dots`, `curves`, `with_costs`, `seeds` (every run beside the
            means) or `learning` (learning curves). Without it, the figure is the one that the sweep asks for.
        ax: Axes to draw into. Without them, the figure has its own.
        size: Width and height in inches, or one of `column`, `page` and `slide`, whose height fits the content.
            Without it, the figure has the width that suits it.
        style: The font: `sans`, or `serif`, which looks like Times.
        caption: Whether the figure has the grey caption that explains its dots and bars.

    Returns:
        The axes, the first of several panels; `.figure` is their figure.

    Raises:
        UserError: for an unknown kind, size or style, for a size that is too small for the figure, for both `ax` and
            `size`, for `ax` where the figure has several panels, or where no run has finished.
    """
    from analysis.sweep import figures as sweep_figures

    _check_sweep(sweep)
    _check("style", style, FONTS)
    return sweep_figures.figure(sweep, kind or sweep_figures.OWN, _size(size, ax), ax, style, caption)


def _size(size: tuple[float, float] | str | None, ax: Axes | None) -> Size | None:
    if size is None:
        if ax is None:
            return None
        box = ax.get_window_extent().transformed(_figure_of(ax).dpi_scale_trans.inverted())
        return Size(box.width, box.height, font=float(ax.xaxis.label.get_fontsize()))
    if ax is not None:
        raise UserError(f"size={size!r} and ax cannot both be given, because the axes already have a size")
    return read_size(size)


def _figure_of(ax: Axes) -> Any:
    return ax.get_figure(root=True)


def _check(name: str, value: str, known: Sequence[str] | Mapping[str, object]) -> None:
    if value not in known:
        raise UserError(f"{name}={value!r} must be one of {', '.join(known)}{nearest(str(value), known)}")


def check_notes(notes: str) -> None:
    _check("notes", notes, NOTES)


def _check_sweep(sweep: SweepResults) -> SweepResults:
    from analysis.sweep.results import SweepResults

    if not isinstance(sweep, SweepResults):
        raise UserError(f"{type(sweep).__name__} is not a sweep; give the result of load_sweep(sources, name)")
    return sweep


@dataclass(frozen=True)
class Rendering:
    """What was written for a sweep.

    Attributes:
        sweep: The name of the sweep, or of a table of the paper.
        text: The table for a terminal of 100 columns.
        markdown: The table in Markdown.
        paths: The path of each file by its name.
        note: A sentence on why there is no figure: the sweep has too many rows, or the size is too small.
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


def render(
    sources: Sources, sweep: str, out: Path, select: str = "last", interval: str = "moderated",
    only: Mapping[str, Sequence[Any]] | None = None, metrics: Sequence[str] = (), notes: str = "full",
    siunitx: bool = False,
) -> Rendering:  # fmt: skip
    """Write `table.md|tex|csv` and the figure of a sweep as `png|pdf|svg` into `out/<sweep>/`.

    `notes` and `siunitx` are those of `render_table`.

    Raises:
        UserError: as `load_sweep`, or where the folder cannot be written to.
    """
    results = load_sweep(sources, sweep, select, interval, only, metrics)
    from analysis.sweep.table import sweep_table

    table = sweep_table(results)
    from analysis.sweep.figures import too_many_rows  # with matplotlib, which no error of the sweep waits for

    folder = _folder(out, sweep)
    paths = _write(table, folder, "table", notes=notes, siunitx=siunitx)
    paths |= _draw("figure", folder, "figure", results)
    shown = {"note": too_many_rows(results), "diagnostic": results.diagnostic()}
    return Rendering(sweep, render_table(table, "text", notes), render_table(table, notes=notes), paths, **shown)


def render_figures(
    sources: Sources, sweep: str, out: Path, names: Sequence[str] = FIGURES, size: str | None = None,
    select: str = "last", interval: str = "moderated", only: Mapping[str, Sequence[Any]] | None = None,
    metrics: Sequence[str] = (), style: str = SANS, caption: bool = True,
) -> Rendering:  # fmt: skip
    """Draw the figures `names` of the sweep `sweep` into `out/<sweep>/`, without its table.

    `size`, `style` and `caption` are those of `draw_figure`, but a size in inches is a text such as `3.5x2.4`. The
    names of the files contain the size. Without a size, each figure has the width that suits it. A figure without runs
    is left out. A figure that does not fit into its size is also left out, and a note says so.

    Raises:
        UserError: as `render`, and where none of the figures has room in the size; nothing is written then.
    """
    results = load_sweep(sources, sweep, select, interval, only, metrics)
    from analysis.figures.common import TooSmallError
    from analysis.sweep.figures import too_many_rows

    folder = _named(out, sweep)
    paths: dict[str, Path] = {}
    notes = [note for note in [too_many_rows(results)] if note]
    too_small = []
    for name in names:
        stem = name if size is None else f"{name}-{size}"
        try:
            paths |= _draw(name, folder, stem, results, size=size, style=style, caption=caption)
        except TooSmallError as error:
            too_small.append(f"{name}: {error}")
    if too_small and not paths:
        raise UserError(f"sweep {sweep!r}: {'; '.join(too_small)}")
    notes += too_small
    return Rendering(sweep, "", "", paths, note="\n".join(notes))


def _folder(out: Path, sweep: str) -> Path:
    """The folder `out/<sweep>`, which is created if needed."""
    return files.make_folder(_named(out, sweep))


def _named(out: Path, sweep: str) -> Path:
    """`out/<sweep>`. The name may come from a file of someone else, so it must not lead to another folder."""
    if Path(sweep).name != sweep or sweep in ("", ".."):
        raise UserError(f"the name of the sweep {sweep!r} cannot name a folder; it must be a plain name, without '/'")
    return out / sweep


def _draw(name: str, folder: Path, stem: str, results: SweepResults, **look: Any) -> dict[str, Path]:
    """Write the figure `name` in every format. Nothing is written if the sweep has no such figure."""
    from analysis.sweep.figures import NothingToDrawError

    try:
        ax = draw_figure(results, name, **look)
    except NothingToDrawError:
        return {}
    return _save(ax, folder, stem)


def _save(ax: Axes, folder: Path, stem: str) -> dict[str, Path]:
    from analysis.figures import kinds

    paths = {f"{stem}.{suffix}": files.make_folder(folder) / f"{stem}.{suffix}" for suffix in FIGURE_FORMATS}
    for path in paths.values():
        kinds.write(ax, path)
    return paths


def render_confusion(
    sources: Sources, sweep: str, out: Path, only: Sequence[tuple[str, str]] = (), problems: list[str] | None = None,
    style: str = SANS, caption: bool = True, notes: str = "full", siunitx: bool = False,
) -> Rendering:  # fmt: skip
    """Write the predictions of the runs of a sweep, as tables and figures, into `out/<sweep>/`.

    `classes.md|tex|csv` have the accuracy on each class of each row, and `confusion-<row>.md|tex|csv|png|pdf|svg` the
    confusion matrix of a row. A sweep without predictions gets no file, and the text of the result says so.

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
    for group in confusion.confusions(results, confusion.chosen(results, only), [] if problems is None else problems):
        folder = _folder(out, sweep)
        stem = f"confusion-{group.stem}"
        if f"{stem}.md" in paths:  # names that differ in other characters than letters and digits
            stem = f"{stem}-{len(found)}"
        paths |= _write(confusion.matrix_table(group), folder, stem, stem, notes, siunitx)
        paths |= _save(kinds.confusion(confusion.chart(group, style, caption)), folder, stem)
        found.append(confusion.ByClass.of(group))
    if not found:
        return Rendering(sweep, confusion.none_found(results), "", {})
    table = confusion.class_table(results, found)
    paths = _write(table, _folder(out, sweep), "classes", "classes", notes, siunitx) | paths
    return Rendering(sweep, render_table(table, "text", notes), render_table(table, notes=notes), paths)


def render_comparison(compared: Comparison, out: Path, notes: str = "full", siunitx: bool = False) -> Rendering:
    """Write the table of a comparison and its figures into `out/compare/<sweep>/`.

    `table.md|tex|csv` is the table, `figure.png|pdf|svg` shows the means, and `differences.png|pdf|svg` the differences
    to the first side.

    Raises:
        UserError: where the folder cannot be written to.
    """
    from analysis.compare import figures
    from analysis.compare.table import comparison_table

    sweep = compared.layout.name
    table, crowd = comparison_table(compared), figures.too_many_rows(compared)
    folder = _folder(out / "compare", sweep)
    paths = _write(table, folder, "table", notes=notes, siunitx=siunitx)
    for stem, draw in ({} if crowd else {"figure": figures.means, "differences": figures.differences}).items():
        ax = draw(compared)
        paths |= {} if ax is None else _save(ax, folder, stem)
    return Rendering(sweep, render_table(table, "text", notes), render_table(table, notes=notes), paths, note=crowd)


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
        if (paths := _write(table, folder, table.name, notes=notes, siunitx=siunitx))
    ]


def _raise_left_out(sources: Collection | None, names: Sequence[str]) -> None:
    """Raise the reason why a sweep of one of these names cannot be read, where there is one."""
    for error in sources.left_out(names) if sources is not None else ():
        raise error


def _write(
    table: Table, folder: Path, stem: str, name: str = "table", notes: str = "full", siunitx: bool = False
) -> dict[str, Path]:
    """Write `table` in every format, and return the paths by the names `name.md`, `name.tex` and `name.csv`."""
    paths = {}
    for suffix, kind in {"md": "markdown", "tex": "latex", "csv": "csv"}.items():
        paths[f"{name}.{suffix}"] = folder / f"{stem}.{suffix}"
        files.write_text(paths[f"{name}.{suffix}"], render_table(table, kind, notes, siunitx))
    return paths
