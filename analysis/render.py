"""Sweeps and comparisons with their tables and figures, in memory. Importing this module loads nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from analysis.figures.style import FONTS, SANS, Size, read_size
from lightning_xvol.errors import UserError, nearest

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
    return SweepResults.of(collection, *collection.load(name), select, interval, _texts(only), metrics)


def load_comparison(
    sources: Sources | Iterable[Collection], name: str, settings: Sequence[Mapping[str, Any]] = (),
    select: str = "last", interval: str = "moderated", only: Mapping[str, Sequence[Any]] | None = None,
    metrics: Sequence[str] = (),
) -> Comparison:  # fmt: skip
    """The rows of the sweep `name` under two or more settings, and their differences to the first.

    The runs under one setting are a side of the comparison. `["mine", "yours"]` as `sources` compares two ledgers.
    `[{"optim.lr": 0.1}, {"optim.lr": 0.05}]` as `settings` compares two learning rates in one.

    Args:
        sources: Without `settings`, two sources or more, each of which is one side. With `settings`, a source or
            several, which are merged.
        name: The sweep.
        settings: The fields of each side with their values. Everything else must be equal.
        select, interval, only: As in `load_sweep`.
        metrics: As in `load_sweep`, but a comparison shows one.

    Returns:
        An object with `names` (of the sides), `settings` (the fields in which they differ), `frame` (a row per run and
        metric) and `summary` (a row per row of the sweep and side). `render_table` and `draw_figure` take it.

    Raises:
        UserError: as `load_sweep`, for fewer than two sides, and for runs that cannot be compared.
    """
    _check("select", select, SELECT)
    _check("interval", interval, INTERVALS)
    from analysis.compare.comparison import compare
    from analysis.compare.sides import sides_of_settings, sides_of_sources
    from analysis.sources.collection import collect

    if settings:
        if not all(isinstance(side, Mapping) for side in settings):
            raise UserError(
                f"settings={settings!r} must be a list with a mapping for each side, such as {{'optim.lr': 0.1}}"
            )
        groups = [tuple((str(path), str(value)) for path, value in side.items()) for side in settings]
        sides = sides_of_settings(collect(cast("Sources", sources)), name, groups)
    else:
        several = [sources] if isinstance(sources, str) or not isinstance(sources, Iterable) else sources
        sides = sides_of_sources(list(map(collect, several)), name)
    return compare(sides, select, interval, _texts(only), metrics)


def read_only(texts: Iterable[str]) -> dict[str, list[str]]:
    """The values by key of texts such as `operator=convolution,xvolution`. Several texts may have one key.

    Raises:
        UserError: for a text that is not KEY=V1,V2.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        chosen = [value for value in values.split(",") if value]
        if not (key and equals and chosen):
            raise UserError(f"--only {text!r} must be KEY=V1,V2, for example --only operator=convolution,xvolution")
        found.setdefault(key, []).extend(chosen)
    return found


def _texts(only: Mapping[str, Sequence[Any]] | None) -> dict[str, list[str]]:
    return {key: [str(value) for value in values] for key, values in (only or {}).items()}


def render_table(
    sweep: SweepResults | Comparison | Table, format: str = "markdown", notes: str = "full", siunitx: bool = False
) -> str:
    """The table of a sweep or of a comparison, with caption and footnotes, as text.

    Args:
        sweep: The result of `load_sweep` or `load_comparison`, or a table of the paper.
        format: `markdown`, `latex`, `csv` (the numbers in full precision), or `text` for a terminal.
        notes: The footnotes: `full`, `short` (a sentence on estimator and n, one on the data, and warnings) or `none`.
        siunitx: Whether LaTeX's package siunitx aligns the numbers. The document must load it.

    Raises:
        UserError: for an unknown format or unknown notes.
    """
    _check("format", format, TABLE_FORMATS)
    check_notes(notes)
    table = _table(sweep).with_notes(notes)
    return table.to_latex(siunitx) if format == "latex" else str(getattr(table, f"to_{format}")())


def _table(sweep: SweepResults | Comparison | Table) -> Table:
    from analysis.table import Table

    if isinstance(sweep, Table):
        return sweep
    from analysis.compare.comparison import Comparison
    from analysis.compare.table import comparison_table
    from analysis.sweep.table import sweep_table

    _check_loaded(sweep)
    return comparison_table(sweep) if isinstance(sweep, Comparison) else sweep_table(sweep)


def draw_figure(
    sweep: SweepResults | Comparison,
    kind: str | None = None,
    ax: Axes | None = None,
    size: tuple[float, float] | str | None = None,
    style: str = SANS,
    caption: bool = True,
) -> Axes:
    """Draw a figure of a sweep or of a comparison.

    Args:
        sweep: The result of `load_sweep` or `load_comparison`.
        kind: `lines`, `facets`, `scatter`, `groups`, `dots`, `curves`, `with_costs`, `seeds` (every run beside the
            means) or `learning` (learning curves). Without it, the figure is the one that the sweep asks for. The
            figure of a comparison shows the means, and with the kind `differences` their differences to the first side.
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
    from analysis.compare import figures as of_comparisons
    from analysis.compare.comparison import Comparison
    from analysis.sweep import figures as of_sweeps

    _check_loaded(sweep)
    _check("style", style, FONTS)
    wanted = _size(size, ax)
    if isinstance(sweep, Comparison):
        return of_comparisons.figure(sweep, kind or of_sweeps.OWN, wanted, ax, style, caption)
    return of_sweeps.figure(sweep, kind or of_sweeps.OWN, wanted, ax, style, caption)


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


def _check_loaded(sweep: SweepResults | Comparison) -> None:
    from analysis.compare.comparison import Comparison
    from analysis.sweep.results import SweepResults

    if not isinstance(sweep, (SweepResults, Comparison)):
        raise UserError(
            f"{type(sweep).__name__} is not a sweep; give the result of load_sweep(sources, name) or load_comparison"
        )
