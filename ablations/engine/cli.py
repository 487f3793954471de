"""One command line for every sweep: `python -m ablations.<sweep>`.

Running the same command again is the resume: finished cells are not run again, interrupted ones go on from their
checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ablations.engine import cost
from ablations.engine.cell import Settings, run_cell, state
from ablations.engine.launchers import Launcher
from ablations.engine.launchers.choice import add_launcher_flags, choose_launcher
from ablations.engine.plan import write_plan
from ablations.engine.progress import Progress
from ablations.engine.stored import stored_paths
from ablations.engine.sweep import Cell, Selection, Sweep, make_cells, recipes_for, select
from lightning_xvol.commandline import (
    Parser,
    add_run_flags,
    add_trust,
    at_least,
    duration,
    is_helper_process,
    selection,
    setting,
)
from lightning_xvol.config.recipes import Recipe, get_recipe
from lightning_xvol.errors import ExitCode, UserError, run_command_line
from lightning_xvol.ledger import files
from lightning_xvol.ledger.origins import with_origin

POLL_SECONDS = 0.5
WORTH_A_TRIAL = 4  # cells
MOST_SEEDS = 1000  # more would be a slip of the pen, and take minutes to list


EPILOG = "Run the same command again to resume: finished cells are not run again, interrupted ones go on."


def make_parser(sweep: Sweep) -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"python -m ablations.{sweep.name}",
        description=f"{sweep.title} ({sweep.reproduces}): {' x '.join([*sweep.axes, ', '.join(sweep.rows)])} x seeds.",
        epilog=EPILOG,
    )
    parser.set_defaults(module=sweep.name, reading=None)
    add_flags(parser, sweep.recipe, recipes_for(sweep))
    if sweep.readings:
        parser.add_argument(
            "--reading", choices=sorted(sweep.readings), help="; ".join(
                f"{name}: {reading.title}" for name, reading in sweep.readings.items()
            )
        )  # fmt: skip
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        type=selection,
        metavar="KEY=V1,V2",
        help="run only these: operator, an axis, or seed; repeatable",
    )
    parser.add_argument("--cell", metavar="ID", help="run one cell here, by the beginning of its id; write no table")
    add_trust(parser, "--cell of a ledger")
    parser.add_argument(
        "--seed", type=at_least(0, "seed"), metavar="N", help="with --cell, which then may be the id of a group"
    )
    parser.add_argument(
        "--emit-wandb-sweep", nargs="?", const="", metavar="FILE",
        help="write a file for wandb sweep, whose agents run these cells, and stop (default: in OUT/<sweep>)",
    )  # fmt: skip
    parser.add_argument(
        "--force", action="store_true", help="run the selected cells anew; the old ones stay as <id>.old-N"
    )
    return parser


def add_flags(parser: argparse.ArgumentParser, recipe: str, recipes: Iterable[str]) -> None:
    """What every sweep takes, and `ablations.all` for all of them; `recipe` of `recipes` is the default."""
    parser.add_argument(
        "--recipe", default=recipe, metavar="NAME", help=f"one of {', '.join(recipes)} (default: %(default)s)"
    )
    parser.add_argument(
        "--seeds", type=at_least(1, "seeds", MOST_SEEDS), metavar="N", help="seeds 0 to N-1 (default: the recipe's)"
    )
    add_run_flags(parser, out=None)
    add_launcher_flags(parser)
    parser.add_argument(
        "--set", action="append", default=[], type=setting, metavar="PATH=VALUE", dest="settings",
        help="set any field, for example optim.lr=0.05; operator.name=NAME adds a row; repeatable",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="list the cells with their state and stop")
    parser.add_argument("--fail-fast", action="store_true", help="start no further cell after the first failure")
    parser.add_argument(
        "--no-wait", action="store_true", help="do not wait for cells that another process works on (exit code 3)"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="20 steps on 256 images, to see that it works; out: runs-smoke"
    )


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> None:
    """Run and exit: 0 all cells done, 1 one failed, 2 a mistake, 3 --no-wait left one to another process."""
    run_command_line(lambda: command(sweep, arguments))


def command(sweep: Sweep, arguments: Sequence[str] | None = None) -> int:
    parsed = make_parser(sweep).parse_args(arguments)
    if parsed.reading is not None:
        sweep = sweep.readings[parsed.reading]
    only: dict[str, list[str]] = {}
    for key, values in parsed.only:
        only.setdefault(key, []).extend(value for value in values.split(",") if value)
        if not only[key]:
            raise UserError(f"--only {key}= selects nothing; give values, for example --only seed=0,1")
    return execute(sweep, parsed, only)


def cells_of(sweep: Sweep, flags: argparse.Namespace, only: Mapping[str, Sequence[str]] | None = None) -> list[Cell]:
    """The cells of `sweep` under the flags of `add_flags`.

    With `--backbone-from` every cell that `only` selects must find its classification run; of the others, those that
    have none yet are left out, as they have no identity yet.

    Raises:
        UserError: for a cell that must be there and has no classification run, and where `--cell` may name such a one.
    """
    recipe = get_recipe(flags.recipe)
    settings = list(flags.settings)
    if flags.gpus_per_cell is not None:
        settings.append(("train.devices", str(flags.gpus_per_cell)))
    seeds = max(flags.seeds or recipe.seeds, (flags.seed or 0) + 1)
    cells = make_cells(sweep, recipe, Selection(seeds, settings, smoke=flags.smoke))
    if flags.backbone_from is None:
        return [dataclasses.replace(cell, config=with_origin(cell.config, None)) for cell in cells]
    needed = {id(cell) for cell in (select(cells, only or {}) if flags.cell is None else ())}
    started, missing = [], []
    for cell in cells:
        try:
            started.append(dataclasses.replace(cell, config=with_origin(cell.config, flags.backbone_from)))
        except UserError as error:
            if id(cell) in needed:
                raise
            missing.append(error)
    if missing and flags.cell is not None and not _matching(started, flags.cell, flags.seed):
        raise UserError(
            f"--cell {flags.cell!r} names none of the {len(started)} entries that have their classification run; "
            f"the first of the {len(missing)} others has none: {missing[0]}"
        )
    return started


def out_of(flags: argparse.Namespace) -> Path:
    return Path(flags.out or ("runs-smoke" if flags.smoke else "runs"))


def execute(sweep: Sweep, parsed: argparse.Namespace, only: Mapping[str, Sequence[str]]) -> int:
    """What the parsed flags ask of `sweep`; returns the exit code."""
    if parsed.seed is not None and parsed.cell is None:
        raise UserError(f"--seed {parsed.seed} goes with --cell GROUP; choose seeds with --seeds N or --only seed=0,1")
    recipe = get_recipe(parsed.recipe)
    out = out_of(parsed)
    cells = cells_of(sweep, parsed, only)
    if parsed.cell is not None and not _matching(cells, parsed.cell, parsed.seed):
        parsed.settings = [*parsed.settings, *stored_paths(out, parsed.cell, parsed.trust)]
        cells = cells_of(sweep, parsed, only)
    chosen = select(cells, only)
    if parsed.cell is not None:
        chosen = [find_cell(chosen, parsed.cell, parsed.seed)]
    settings = Settings(out, sweep.name, parsed.data_dir, parsed.download, parsed.wandb, parsed.wandb_project)
    if parsed.dry_run:
        return list_cells(sweep, recipe, chosen, out, parsed.jobs or 1)
    if parsed.emit_wandb_sweep is not None:
        from ablations.engine.wandb_sweep import emit

        write_plan(sweep, recipe, cells, out, parsed)  # the runs of agents carry it
        return emit(sweep, chosen, parsed, out)
    launcher = choose_launcher(parsed, max(cell.config.train.devices for cell in chosen))
    try:
        if parsed.cell is not None:
            return run_one(chosen[0], parsed, settings, launcher)
        return run(sweep, recipe, cells, chosen, settings, launcher, parsed)
    except KeyboardInterrupt:
        launcher.close()
        print(f"\ninterrupted; {launcher.on_interrupt}")
        return ExitCode.INTERRUPTED
    finally:
        launcher.close()


def list_cells(sweep: Sweep, recipe: Recipe, cells: Sequence[Cell], out: Path, jobs: int) -> int:
    """Print the cells with their state, and how many there are of each; entries of a table may share a cell."""
    states = {cell.id: state(cell, out) for cell in cells}
    for cell in cells:
        print(f"{cell.id}  {states[cell.id]:<11}  {cell.name}")
    entries = f" ({len(cells)} entries of the table)" if len(states) < len(cells) else ""
    print(f"{sweep.name}, recipe {recipe.name}, {summary_of(cells, states, out, jobs)}{entries}")
    return ExitCode.SUCCESS


def summary_of(cells: Sequence[Cell], states: Mapping[str, str], out: Path, jobs: int) -> str:
    """How many cells there are in which state, and what those to run will cost where earlier runs tell."""
    counts = Counter(states.values())
    summary = ", ".join(f"{count} {where}" for where, count in sorted(counts.items()))
    estimate = cost.from_records(_unfinished(cells, out), out)
    return f"{len(states)} cells in {out}: {summary}" + (f"; {estimate.describe(jobs)}" if estimate else "")


def run_one(cell: Cell, flags: argparse.Namespace, settings: Settings, launcher: Launcher) -> int:
    force = flags.force
    if force or state(cell, settings.out) not in ("done", "diverged"):
        _check(launcher, [cell], settings)
    if force and not is_helper_process():
        put_aside([cell], settings.out)
    outcome, detail = run_cell(cell, settings, progress_bar=sys.stderr.isatty())
    if not is_helper_process():
        print(f"{cell.id} {cell.name}: {outcome} ({detail})")
    return {"failed": ExitCode.FAILURE, "held": ExitCode.HELD}.get(outcome, ExitCode.SUCCESS)


def find_cell(cells: Sequence[Cell], prefix: str, seed: int | None) -> Cell:
    """The cell whose id, or with `seed` whose group's id, begins with `prefix`."""
    matching = _matching(cells, prefix, seed)
    if len(matching) != 1:
        which = f"--cell {prefix!r}" + ("" if seed is None else f" --seed {seed}")
        raise UserError(f"{which} names {len(matching)} cells of this sweep, it must name one; --dry-run lists them")
    return next(iter(matching.values()))


def _matching(cells: Sequence[Cell], prefix: str, seed: int | None) -> dict[str, Cell]:
    """By id, as rows may share a cell."""
    return {
        cell.id: cell
        for cell in cells
        if (cell.id.startswith(prefix) and seed in (None, cell.config.seed))
        or (cell.group.startswith(prefix) and seed == cell.config.seed)
    }


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
        _check(launcher, to_run, settings)
    files.make_folder(out / sweep.name)
    if flags.force:
        put_aside(to_run, out)
    write_plan(sweep, recipe, cells, out, flags)
    total = len({cell.id for cell in chosen})
    print(
        f"{sweep.name}, recipe {recipe.name}: {total} cells, {total - len(to_run)} done, {len(to_run)} to run",
        flush=True,
    )
    if to_run:
        print_cost(to_run, settings, launcher, flags)
    with Progress(to_run, total) as progress:
        started = time.monotonic()
        run_all(to_run, settings, launcher, progress, flags)
    if to_run:
        print(f"{progress.ended_here} cells in {duration(time.monotonic() - started)}")
    write_plan(sweep, recipe, cells, out, flags)  # again: another command may have begun this sweep otherwise
    render(out, sweep.name)
    return report(progress, out)


def print_cost(cells: Sequence[Cell], settings: Settings, launcher: Launcher, flags: argparse.Namespace) -> None:
    """What `cells` will cost, where that is worth a trial of some seconds or earlier runs tell."""
    estimate = cost.from_records(cells, settings.out)
    if estimate is None and not flags.smoke and len(cells) >= WORTH_A_TRIAL:
        tried = launcher.trial(cost.sample(cells), settings)
        estimate = cost.from_trial(cells, tried) if tried else None
    if estimate is not None:
        print(estimate.describe(flags.jobs or 1), flush=True)
    elif not flags.smoke:
        print(f"what they will cost is not known before a run like them has ended in {settings.out}", flush=True)


def _unfinished(cells: Sequence[Cell], out: Path) -> list[Cell]:
    unfinished = {cell.id: cell for cell in cells if state(cell, out) not in ("done", "diverged")}
    return list(unfinished.values())


def run_all(
    cells: Sequence[Cell], settings: Settings, launcher: Launcher, progress: Progress, flags: argparse.Namespace
) -> None:
    """Run `cells`; those that another process holds come last, when it has left them or finished them."""
    from lightning_xvol.ledger.locking import is_held

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
    from lightning_xvol.ledger.locking import is_held

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
    from analysis.sources.collection import Collection

    rendering = render_sweep(Collection([out]), sweep, out)
    print(f"{rendering.text}\n\n{rendering.where()}")


def report(progress: Progress, out: Path) -> int:
    for cell, detail in progress.failures:
        print(f"failed: {cell.id} {cell.name}: {detail}; see {cell.folder(out)}/log.txt")
    for cell in progress.held:
        print(f"held: {cell.id} {cell.name}: another process works on it")
    if progress.failures:
        print(f"{len(progress.failures)} cells failed; the same command tries them again")
        return ExitCode.FAILURE
    return ExitCode.HELD if progress.held else ExitCode.SUCCESS
