"""`python -m analysis`: tables, figures and verdicts from finished runs. `--help` loads nothing heavy."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.render import (
    FIGURES,
    INTERVALS,
    PAPER_TABLES,
    SELECT,
    WITHOUT_RUNS,
    render,
    render_figures,
    render_paper,
)
from analysis.style import SIZES
from lightning_xvol.commandline import DEFAULT_PROJECT, Parser
from lightning_xvol.errors import UserError, run_command_line

if TYPE_CHECKING:
    from analysis.sources.collection import Collection


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m analysis", description="Tables, figures and verdicts from finished runs.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    tables = commands.add_parser(
        "tables",
        help="table.md, table.tex, table.csv and figure.png, .pdf, .svg of a sweep; or the paper's tables",
        allow_abbrev=False,
    )
    add_source(tables)
    tables.add_argument("--sweep", metavar="NAME", help="the sweep to render (default: each one)")
    tables.add_argument(
        "--paper", nargs="*", type=int, choices=PAPER_TABLES, metavar="N",
        help="render these tables of the paper, in its layout, instead (default: those that there are runs for); "
        "5 and 7 need no --source",
    )  # fmt: skip
    tables.add_argument(
        "--interval", choices=INTERVALS, default="t", help="of a sweep's differences (default: Student's t)"
    )
    tables.add_argument("--holm", action="store_true", help="adjust a sweep's p-values for its comparisons")
    tables.add_argument(
        "--out", type=Path, metavar="DIR",
        help="write to DIR/NAME/, and the paper's tables to DIR/paper/ (default: into the first source that is a "
        "folder, else here)",
    )  # fmt: skip
    figures = commands.add_parser(
        "figures", help="figures of a sweep: its own, every run beside the means, learning curves", allow_abbrev=False
    )
    add_source(figures)
    figures.add_argument("--sweep", metavar="NAME", help="the sweep to draw (default: each one)")
    figures.add_argument(
        "--figure", action="append", choices=FIGURES, metavar="NAME",
        help=f"which: {', '.join(FIGURES)}; repeatable (default: all that there are runs for)",
    )  # fmt: skip
    figures.add_argument(
        "--size", choices=tuple(SIZES),
        help="of one column of a paper, of both, or of a slide; the text fits, and files are named after it "
        "(default: column or page, by what there is to show)",
    )  # fmt: skip
    figures.add_argument("--out", type=Path, metavar="DIR", help="write to DIR/NAME/ (default: into the first source)")
    claims = commands.add_parser("claims", help="a verdict on each of the paper's claims", allow_abbrev=False)
    add_source(claims)
    claims.add_argument("--format", choices=("markdown", "csv"), default="markdown", help="default: %(default)s")
    add_dashboard(commands)
    return parser


def add_dashboard(commands: argparse._SubParsersAction) -> None:
    dashboard = commands.add_parser(
        "dashboard", help="create or update a W&B workspace and a W&B report of a project", allow_abbrev=False
    )
    add_source(dashboard)
    dashboard.add_argument("--entity", required=True, metavar="E", help="the W&B user or team")
    dashboard.add_argument("--project", default=DEFAULT_PROJECT, metavar="P", help="default: %(default)s")
    dashboard.add_argument("--dry-run", action="store_true", help="print as JSON what would be saved; no network")


def add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source", action="append", default=[], metavar="SOURCE",
        help="the --out folder of a sweep, one of W&B offline runs alone, or wandb:ENTITY/PROJECT on a W&B server; "
        "repeatable: runs are merged by id",
    )  # fmt: skip
    parser.add_argument(
        "--select", choices=SELECT, default="last", help="which evaluation of a run counts (default: %(default)s)"
    )


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    if options.command == "claims":
        return print_claims(options)
    if options.command == "figures":
        return draw_figures(options)
    if options.command == "dashboard":
        return save_dashboard(options)
    if options.paper is not None:
        return render_paper_tables(options)
    sources = open_sources(options.source)
    names = sources.sweeps()
    out = out_folder(options)
    for name in names if options.sweep is None else [options.sweep]:
        rendering = render(sources, name, out, options.select, options.interval, options.holm)
        print(f"{rendering.text}\n\n{rendering.where()}\n")
    return 0


def draw_figures(options: argparse.Namespace) -> int:
    sources = open_sources(options.source)
    out, wanted = options.out or Path(options.source[0]), options.figure or FIGURES
    for name in sources.sweeps() if options.sweep is None else [options.sweep]:
        rendering = render_figures(sources, name, out, wanted, options.size, options.select)
        print(rendering.where() or f"{name}: no runs for {' or '.join(wanted)}")
    return 0


def render_paper_tables(options: argparse.Namespace) -> int:
    numbers = options.paper
    sources = None if numbers and set(numbers) <= set(WITHOUT_RUNS) else open_sources(options.source)
    out = out_folder(options)
    for rendering in render_paper(sources, numbers, out, options.select):
        print(f"{rendering.text}\n\n{rendering.where()}\n")
    return 0


def print_claims(options: argparse.Namespace) -> int:
    sources = open_sources(options.source)
    from analysis import verdicts

    found = verdicts.verdicts(sources, options.select)
    if options.format == "csv":
        print(verdicts.to_frame(found).to_csv(index=False, lineterminator="\n"), end="")
    else:
        print(verdicts.to_markdown(found), end="")
    return 0


def save_dashboard(options: argparse.Namespace) -> int:
    try:
        from analysis import dashboard, wandb_views
    except ModuleNotFoundError as error:
        raise UserError(f"the dashboard needs {error.name}, which is not installed; make env installs it") from error
    place = options.entity, options.project
    for flag, name in zip(("--entity", "--project"), place, strict=True):
        if not name or "/" in name:
            raise UserError(f"{flag} {name!r} must be one name, as in wandb.ai/ENTITY/PROJECT")
    sources = open_sources(options.source) if options.source else None
    if options.dry_run:
        views = dashboard.views(sources, options.select, *place)
        print(json.dumps({view.kind: view.content(*place) for view in views}, indent=2, ensure_ascii=False))
        for view in views:
            print(f"{view.kind} not saved ({view.shows})", file=sys.stderr)
        return 0
    project = wandb_views.Project(*place)
    for view in dashboard.views(sources, options.select, *place, project.id):
        address, new = project.save(view)
        print(f"{view.kind} {'created' if new else 'updated'} ({view.shows}): {address}")
    return 0


def out_folder(options: argparse.Namespace) -> Path:
    """Where renderings go: `--out`, else the first source that is a folder, else the current folder."""
    from analysis.sources.server import is_server

    folders = [name for name in options.source if not is_server(name)]
    return options.out or Path(folders[0] if folders else ".")


def open_sources(names: list[str]) -> Collection:
    """The sources, after a line on stderr for each file of theirs that cannot be read whole.

    Raises:
        UserError: where none is named, or one holds no runs.
    """
    if not names:
        raise UserError(
            "--source is missing: name the --out folder of a sweep, a folder of W&B offline runs, or wandb:PROJECT"
        )
    from analysis.sources.collection import Collection

    sources = Collection(names)
    for loss in sources.losses:
        print(f"note: {loss}", file=sys.stderr)
    return sources


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that lacks a minus sign or an en dash shows a question mark rather than a traceback.
        sys.stdout.reconfigure(errors="replace")
    run_command_line(main)
