"""One command line for every sweep: `python -m ablations.<sweep>`.

Running the same command again is the resume: finished cells are not run again, interrupted ones go on from their
checkpoint.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ablations.cell import Settings, run_cell, state
from ablations.launchers import Launcher
from ablations.progress import Progress, duration
from ablations.sweep import Cell, Selection, Sweep, describe_cells, make_cells, recipes_for, select
from lightning_xvol import files
from lightning_xvol.commandline import Parser, add_run_flags, at_least, is_helper_process, setting
from lightning_xvol.errors import UserError, run_command_line
from lightning_xvol.recipes import Recipe, get_recipe

FAILED, HELD = 1, 3
POLL_SECONDS = 0.5


def make_parser(sweep: Sweep) -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"python -m ablations.{sweep.name}",
        description=f"{sweep.title} ({sweep.reproduces}): {' x '.join([*sweep.axes, ', '.join(sweep.rows)])} x seeds.",
        epilog="Run the same command again to resume: finished cells are not run again, interrupted ones go on.",
    )
    parser.add_argument(
        "--recipe",
        default=sweep.recipe,
        metavar="NAME",
        help=f"one of {', '.join(recipes_for(sweep))} (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=at_least(1, "seeds"), metavar="N", help="seeds 0 to N-1 (default: the recipe's)"
    )
    add_run_flags(parser, out=None)
    parser.add_argument(
        "--launcher", choices=("inline", "local"), help="here, or a pool of processes (default: local if --jobs > 1)"
    )
    parser.add_argument("--jobs", type=at_least(1, "jobs"), metavar="N", help="processes at a time (default: 1)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        type=setting,
        metavar="KEY=V1,V2",
        help="run only these: operator, an axis, or seed; repeatable",
    )
    parser.add_argument(
        "--set", action="append", default=[], type=setting, metavar="PATH=VALUE", dest="settings",
        help="set any field, for example optim.lr=0.05; operator.name=NAME adds a row; repeatable",
    )  # fmt: skip
    parser.add_argument("--cell", metavar="ID", help="run one cell here, by the beginning of its id; write no table")
    parser.add_argument("--dry-run", action="store_true", help="list the cells with their state and stop")
    parser.add_argument(
        "--force", action="store_true", help="run the selected cells anew; the old ones stay as <id>.old-N"
    )
    parser.add_argument("--fail-fast", action="store_true", help="start no further cell after the first failure")
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait for cells that another process works on (exit code 3)"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="20 steps on 256 images, to see that it works; out: runs-smoke"
    )
    return parser


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> None:
    """Run and exit: 0 all cells done, 1 one failed, 2 a mistake, 3 --no-wait left one to another process."""
    run_command_line(lambda: command(sweep, arguments))


def command(sweep: Sweep, arguments: Sequence[str] | None = None) -> int:
    parsed = make_parser(sweep).parse_args(arguments)
    recipe = get_recipe(parsed.recipe)
    only: dict[str, list[str]] = {}
    for key, values in parsed.only:
        only.setdefault(key, []).extend(value for value in values.split(",") if value)
        if not only[key]:
            raise UserError(f"--only {key}= selects nothing; give values, for example --only seed=0,1")
    selection = Selection(parsed.seeds or recipe.seeds, parsed.settings, only, parsed.smoke)
    cells = make_cells(sweep, recipe, selection)
    chosen = select(cells, only)
    out = Path(parsed.out or ("runs-smoke" if parsed.smoke else "runs"))
    settings = Settings(out, sweep.name, parsed.data_dir, parsed.download, parsed.wandb, parsed.wandb_project)
    if parsed.dry_run:
        return list_cells(sweep, recipe, chosen, out)
    if parsed.cell is not None:
        parsed.launcher, parsed.jobs = "inline", None
    launcher = make_launcher(parsed.launcher, parsed.jobs, parsed.wandb != "disabled")
    try:
        if parsed.cell is not None:
            return run_one(cells, parsed.cell, settings, launcher, parsed.force)
        return run(sweep, recipe, cells, chosen, settings, launcher, parsed)
    except KeyboardInterrupt:
        launcher.close()
        print("\ninterrupted; run the same command again to go on from the checkpoints")
        return 130
    finally:
        launcher.close()


def make_launcher(name: str | None, jobs: int | None, tracked: bool) -> Launcher:
    if (name or ("local" if (jobs or 1) > 1 else "inline")) == "local":
        from ablations.launchers.local import LocalLauncher

        return LocalLauncher(jobs or 1, tracked)
    if jobs is not None and jobs > 1:
        raise UserError(f"--launcher inline runs one cell at a time; --jobs {jobs} needs --launcher local")
    from ablations.launchers.inline import InlineLauncher

    return InlineLauncher()


def list_cells(sweep: Sweep, recipe: Recipe, cells: Sequence[Cell], out: Path) -> int:
    """Print the cells with their state, and how many there are of each."""
    counts: dict[str, int] = {}
    for cell in cells:
        where = state(cell, out)
        counts[where] = counts.get(where, 0) + 1
        print(f"{cell.id}  {where:<11}  {cell.name}")
    summary = ", ".join(f"{count} {where}" for where, count in sorted(counts.items()))
    print(f"{sweep.name}, recipe {recipe.name}, {len(cells)} cells in {out}: {summary}")
    return 0


def run_one(cells: Sequence[Cell], prefix: str, settings: Settings, launcher: Launcher, force: bool) -> int:
    matching = {cell.id: cell for cell in cells if cell.id.startswith(prefix)}  # rows may share a cell
    if len(matching) != 1:
        raise UserError(
            f"--cell {prefix!r} names {len(matching)} cells of this sweep, it must name one; --dry-run lists them"
        )
    [cell] = matching.values()
    if force or state(cell, settings.out) not in ("done", "diverged"):
        _check(launcher, [cell], settings)
    if force:
        put_aside([cell], settings.out)
    outcome, detail = run_cell(cell, settings, progress_bar=sys.stderr.isatty())
    if not is_helper_process():
        print(f"{cell.id} {cell.name}: {outcome} ({detail})")
    return {"failed": FAILED, "held": HELD}.get(outcome, 0)


def _refuse_several_devices(cells: Sequence[Cell]) -> None:
    """Lightning starts the further processes of a run by repeating the command line, which here would be the sweep."""
    for cell in cells:
        if cell.config.train.devices > 1:
            raise UserError(
                f"train.devices={cell.config.train.devices}: a sweep runs its cells on one device each; "
                f"run them one by one with --cell ID (--dry-run lists the ids)"
            )


def _check(launcher: Launcher, cells: Sequence[Cell], settings: Settings) -> None:
    mistake = launcher.preflight(cells, settings)
    if mistake is not None:
        raise UserError(mistake)


def run(
    sweep: Sweep,
    recipe: Recipe,
    cells: Sequence[Cell],
    chosen: Sequence[Cell],
    settings: Settings,
    launcher: Launcher,
    flags: argparse.Namespace,
) -> int:
    """Run what is not done, render the table, and return the exit code."""
    out = settings.out
    to_run = _unfinished(chosen, out) if not flags.force else list({cell.id: cell for cell in chosen}.values())
    if to_run:
        _refuse_several_devices(to_run)
        _check(launcher, to_run, settings)
    folder = files.make_folder(out / sweep.name)
    if flags.force:
        put_aside(to_run, out)
    files.write_json(folder / "cells.json", describe_cells(sweep, recipe, cells, flags.smoke))
    total = len({cell.id for cell in chosen})
    print(
        f"{sweep.name}, recipe {recipe.name}: {total} cells, {total - len(to_run)} done, {len(to_run)} to run",
        flush=True,
    )
    with Progress(to_run, total) as progress:
        started = time.monotonic()
        run_all(to_run, settings, launcher, progress, flags)
    if to_run:
        print(f"{progress.ended_here} cells in {duration(time.monotonic() - started)}")
    render(out, sweep.name)
    return report(progress, out)


def _unfinished(cells: Sequence[Cell], out: Path) -> list[Cell]:
    unfinished = {cell.id: cell for cell in cells if state(cell, out) not in ("done", "diverged")}
    return list(unfinished.values())


def run_all(
    cells: Sequence[Cell], settings: Settings, launcher: Launcher, progress: Progress, flags: argparse.Namespace
) -> None:
    """Run `cells`; those that another process holds come last, when it has left them or finished them."""
    from lightning_xvol.locking import is_held

    def keep_going() -> bool:
        return not (flags.fail_fast and progress.failures)

    launcher.run(cells, settings, progress, keep_going)
    while progress.held and keep_going() and not flags.no_wait:
        waiting, progress.held = progress.held, []
        free = []
        for cell in waiting:
            if is_held(cell.folder(settings.out)):
                progress.held.append(cell)
            else:
                free.append(cell)  # finished, which run_cell sees at once, or left behind
        launcher.run(free, settings, progress, keep_going)
        if progress.held:
            time.sleep(POLL_SECONDS)


def put_aside(cells: Sequence[Cell], out: Path) -> None:
    """Move the folders of `cells` to `<id>.old-N`, so that nothing is lost.

    Raises:
        UserError: where a process works in one of them; none is moved then.
    """
    from lightning_xvol.locking import is_held

    folders = [folder for cell in cells if (folder := cell.folder(out)).exists()]
    for folder in folders:
        if is_held(folder):
            raise UserError(f"--force: a process works in {str(folder)!r}; wait for it or stop it first")
    for folder in folders:
        number = 1
        while (target := folder.with_name(f"{folder.name}.old-{number}")).exists():
            number += 1
        folder.rename(target)


def render(out: Path, sweep: str) -> None:
    from analysis.render import render as render_sweep

    rendering = render_sweep(out, sweep)
    print(f"{rendering.text}\n\n{rendering.where()}")


def report(progress: Progress, out: Path) -> int:
    for cell, detail in progress.failures:
        print(f"failed: {cell.id} {cell.name}: {detail}; see {cell.folder(out)}/log.txt")
    for cell in progress.held:
        print(f"held: {cell.id} {cell.name}: another process works on it")
    if progress.failures:
        print(f"{len(progress.failures)} cells failed; the same command tries them again")
        return FAILED
    return HELD if progress.held else 0
