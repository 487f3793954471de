"""The arguments that several commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.figures.style import FONTS, SANS
from analysis.render import INTERVALS, NOTES, SELECT, read_only
from lightning_xvol.errors import UserError
from lightning_xvol.surroundings.printing import in_one_line

if TYPE_CHECKING:
    from analysis.sources.collection import Collection


def add_source(
    parser: argparse.ArgumentParser, select: bool = True,
    merged: str = "the runs of all sources are merged by their ids",
) -> None:  # fmt: skip
    """Add --source, and with `select` the flag --select. `merged` says what several sources mean."""
    parser.add_argument(
        "--source", action="append", default=[], metavar="SOURCE",
        help="the --out folder of a sweep, an archive of one (.jsonl.gz), a folder of W&B offline runs, or "
        f"wandb:ENTITY/PROJECT on a W&B server; repeatable; {merged}",
    )  # fmt: skip
    if select:
        parser.add_argument(
            "--select",
            choices=SELECT,
            default="last",
            help="the evaluation of a run that counts (default: %(default)s)",
        )


def add_shown(parser: argparse.ArgumentParser, keys: str = "operator or an axis") -> None:
    """Add `--only`, whose keys are `keys`, and `--metric`. `only_of` and `metrics_of` read their values."""
    parser.add_argument(
        "--only", action="append", default=[], metavar="KEY=V1,V2",
        help=f"show only these rows or columns; KEY is {keys}; repeatable; the statistics stay those of the whole "
        "table",
    )  # fmt: skip
    parser.add_argument(
        "--metric", action="append", default=[], metavar="NAME",
        help="show this metric by its name in records, such as box_ap50, instead of the table's own; repeatable; the "
        "statistics stay those of the whole table",
    )  # fmt: skip


def add_interval(parser: argparse.ArgumentParser) -> None:
    """Add `--interval`, which says how intervals are computed."""
    parser.add_argument(
        "--interval", choices=INTERVALS, default=INTERVALS[0],
        help="moderated: variances pooled over the rows of a table; t: Student's t, a row's own spread alone "
        "(default: %(default)s)",
    )  # fmt: skip


def add_notes(parser: argparse.ArgumentParser, siunitx: bool = True) -> None:
    """Add `--notes`, which chooses the footnotes of tables, and with `siunitx` the flag `--siunitx` for LaTeX."""
    parser.add_argument(
        "--notes", choices=NOTES, default=NOTES[0],
        help="the footnotes of a table: full: all; short: one sentence on the estimator and the number of seeds, one "
        "on the data, and warnings; none: no footnotes (default: %(default)s)",
    )  # fmt: skip
    if siunitx:
        parser.add_argument(
            "--siunitx", action="store_true",
            help="let LaTeX's package siunitx align the numbers, in the style of your document (default: plain LaTeX)",
        )  # fmt: skip


def add_look(parser: argparse.ArgumentParser) -> None:
    """Add `--style` and `--no-caption`, which say how figures look."""
    parser.add_argument(
        "--style", choices=tuple(FONTS), default=SANS,
        help="the font of figures: sans, or serif, which looks like Times (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--no-caption", action="store_true", help="leave out the grey caption that explains a figure's dots and bars"
    )


def only_of(parsed: argparse.Namespace) -> dict[str, list[str]]:
    """The values of `--only` by key.

    Raises:
        UserError: for a text that is not KEY=V1,V2.
    """
    return read_only(parsed.only)


def metrics_of(parsed: argparse.Namespace) -> list[str]:
    """The names of `--metric`, each once.

    Raises:
        UserError: for an empty name, such as the value of a variable of the shell that is not set.
    """
    for text in parsed.metric:
        if not all(text.split(",")):
            raise UserError(f"--metric {text!r} must name a metric of the records, for example --metric val_top1")
    return list(dict.fromkeys(name for text in parsed.metric for name in text.split(",")))


def add_out(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help=f"write {what} (default: into the first source that is a folder, else here)",
    )  # fmt: skip


def open_sources(names: list[str]) -> Collection:
    """Open the sources, and print a line on stderr for each file that cannot be read whole.

    Raises:
        UserError: where no source is named, or one holds no runs.
    """
    if not names:
        raise UserError(
            "--source is missing: name the --out folder of a sweep, an archive (.jsonl.gz), a folder of W&B offline "
            "runs, or wandb:PROJECT"
        )
    from analysis.sources.collection import Collection

    sources = Collection(names)
    for loss in sources.losses:
        print(f"note: {in_one_line(loss)}", file=sys.stderr)
    return sources


def each_sweep(names: Iterable[str], wanted: str | None, act: Callable[[str], str], unfit: Iterable[str] = ()) -> None:
    """Print what `act` returns for the sweep `wanted`, else for every sweep. A line on stderr names each that fails.

    Args:
        names: The sweeps.
        wanted: The only sweep to act on; None for all of them.
        act: Takes the name of a sweep and returns the text to print.
        unfit: Sentences on sweeps that cannot be read.

    Raises:
        UserError: if it fails for every sweep.
    """
    left_out = [] if wanted is not None else [UserError(fault) for fault in unfit]
    done = False
    for name in names if wanted is None else [wanted]:
        try:
            print(act(name))
            done = True
        except UserError as error:
            left_out.append(error)
    if not done:
        raise left_out[0]
    tell_left_out(left_out)


def tell_left_out(errors: Iterable[UserError | str]) -> None:
    """Print a line on stderr for each sweep or file that cannot be read."""
    for error in errors:
        print(f"note: left out: {in_one_line(error)}", file=sys.stderr)


def out_folder(parsed: argparse.Namespace) -> Path:
    """The folder for the results: `--out`, else the first source that is a folder, else the current folder."""
    folders = [name for name in parsed.source if Path(name).is_dir()]
    return parsed.out or Path(folders[0] if folders else ".")
