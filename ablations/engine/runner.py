"""The run of a sweep: which of its cells to run, the launcher that runs them, and the table and figure at the end."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.engine import cost, messages
from ablations.engine.cell import Outcome, SweepContext, begun, has_result, progress_lines, run_cell
from ablations.engine.launchers import Launcher
from ablations.engine.launchers.choice import choose_launcher
from ablations.engine.options import Options, read_options
from ablations.engine.plan import write_plan
from ablations.engine.progress import Progress, on_terminal
from ablations.engine.report import SweepReport, make_report
from ablations.engine.selection import cells_of, choose, recipe_of
from ablations.engine.sweep import Cell, Sweep
from ablations.engine.tracked import upload_table
from lightning_xvol.commandline import is_helper_process
from lightning_xvol.config.fast import NOTE
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger import contents, files
from lightning_xvol.ledger.protocol import read_protocol
from lightning_xvol.processes import refuse_several_tasks
from lightning_xvol.surroundings.signals import Terminated

POLL_SECONDS = 0.5
WORTH_A_TRIAL = 4  # cells


def run(sweep: str | Sweep, **options: Any) -> SweepReport:
    """Run the cells of a sweep that have no result yet, and write its table and figure.

    Make the same call again to resume: finished cells are not run again, interrupted ones go on from their checkpoint.
    It prints what the command prints: the cells to run and their cost, a line for each finished cell, and the table.

    With one job, cells train in this process. With more, each trains in a process of its own; a script needs no
    `if __name__ == "__main__"` for that.

    Args:
        sweep: The name of a sweep, a key of `SWEEPS`, or a `Sweep`.
        **options: The flags of the command, with underscores and without the leading `--`; `--set` is `settings`.
            `ablations.engine.options.Options` explains each. `only` maps a key to a value or to a list of values,
            `settings` maps a field to its value. `--config` has no argument, because a file takes the place of flags.

    Raises:
        UserError: for an unknown name or an impossible value. Nothing is written then. A cell that fails raises
            nothing; `exit_code` and the states of the cells show it.

    Examples:
        >>> report = run("kernel_size", recipe="match_small", seeds=3, jobs=2, out="runs")  # doctest: +SKIP
        >>> report.counts, report.files["table.csv"]  # doctest: +SKIP
        ({'done': 45}, PosixPath('runs/kernel_size/table.csv'))
    """
    return run_sweep(_find(sweep), read_options(options))


# help() and the completion of a notebook show the names of the options.
run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("sweep", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="str | Sweep"),
        *inspect.signature(Options).parameters.values(),
    ],
    return_annotation="SweepReport",
)


def _find(sweep: str | Sweep) -> Sweep:
    if isinstance(sweep, Sweep):
        return sweep
    from ablations.engine.catalogue import sweeps  # which imports the sweeps, which import this module

    known = sweeps()
    if sweep not in known:
        raise UserError(f"no sweep {sweep!r}{nearest(str(sweep), known)}; sweeps: {', '.join(known)}")
    return known[sweep]


def reading_of(sweep: Sweep, name: str | None) -> Sweep:
    """`sweep`, or its reading `name`."""
    if name is None:
        return sweep
    if name not in sweep.readings:
        known = ", ".join(sweep.readings) or "none"
        raise UserError(f"--reading {name}: sweep {sweep.name!r} has no such reading; readings: {known}")
    return sweep.readings[name]


def run_sweep(sweep: Sweep, options: Options) -> SweepReport:
    """What `run` does, on a sweep and options that have been read."""
    module, sweep = sweep.name, reading_of(sweep, options.reading)
    recipe, out = recipe_of(sweep, options), options.folder
    if options.fast:
        print(NOTE, flush=True)
    cells = cells_of(sweep, options)
    chosen = choose(cells, options)
    protocol = None if options.protocol is None else read_protocol(options.protocol)
    if protocol is not None and not is_helper_process():
        messages.tell_protocol(protocol, recipe.name, sweep.name, chosen, out)
    if options.dry_run:
        messages.list_cells(sweep.name, recipe.name, chosen, out, options.jobs or 1)
        return make_report(sweep, recipe, chosen, out)
    refuse_several_tasks()
    if options.emit_wandb_sweep is not None:
        from ablations.engine.wandb_sweep import emit

        write_plan(sweep, recipe, cells, options)  # the runs of agents carry it
        emit(module, sweep, chosen, options)
        return make_report(sweep, recipe, chosen, out)
    context = context_of(sweep, recipe, options, None if protocol is None else protocol.stamp)
    launcher = choose_launcher(options, max(cell.config.train.devices for cell in chosen))
    with _closing(launcher):
        if options.cell is not None:
            outcomes = _run_one(chosen[0], cells, context, launcher, options.force)
            return make_report(sweep, recipe, chosen, out, outcomes)
        return _run_all(sweep, recipe, cells, chosen, context, launcher, options)


def context_of(
    sweep: Sweep, recipe: Recipe, options: Options, protocol: Mapping[str, str] | None = None
) -> SweepContext:
    """What the cells of `sweep` share under `options`."""
    return SweepContext(
        options.folder,
        sweep.name,
        options.data_dir,
        options.download,
        options.wandb,
        options.wandb_project,
        wandb_entity=options.wandb_entity,
        wandb_tags=tuple(options.wandb_tags),
        wandb_notes=options.wandb_notes,
        wandb_system=options.wandb_system,
        wandb_artifacts=options.wandb_artifacts,
        recipe=recipe.name,
        smoke=options.smoke,
        axis_labels=dict(sweep.axis_labels),
        protocol=protocol,
    )


@contextlib.contextmanager
def _closing(launcher: Launcher) -> Iterator[None]:
    """Close `launcher` at the end, and say after Ctrl-C or SIGTERM how to go on."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        # First, because an impatient user may interrupt the closing too.
        print(f"\ninterrupted; {launcher.on_interrupt}", flush=True)
        raise
    finally:
        launcher.close()


def _run_one(
    cell: Cell, cells: Sequence[Cell], context: SweepContext, launcher: Launcher, force: bool
) -> dict[str, tuple[Outcome, str]]:
    """Run `cell` of `cells` in this process. A helper process of a run of several (DDP) works with it, silently."""
    to_run = [cell] if force or not has_result(cell, context.out) else []
    _check(launcher, to_run, _kept(cells, to_run, force), context)
    if force and not is_helper_process():
        put_aside([cell], context.out)
    bar = on_terminal()
    report = None if bar or is_helper_process() else progress_lines(cell)
    outcome, detail = run_cell(cell, context, report, progress_bar=bar)
    if not is_helper_process():
        print(f"{cell.id} {cell.name}: {outcome} ({detail})")
        if context.wandb != "disabled":
            messages.tell_untracked([cell], context.out)
    return {cell.id: (outcome, detail)}


def _run_all(
    sweep: Sweep,
    recipe: Recipe,
    cells: Sequence[Cell],
    chosen: Sequence[Cell],
    context: SweepContext,
    launcher: Launcher,
    options: Options,
) -> SweepReport:
    """Run the chosen cells that are not done, and render the table of all."""
    out = context.out
    distinct = list({cell.id: cell for cell in chosen}.values())
    to_run = [cell for cell in distinct if options.force or not has_result(cell, out)]
    _check(launcher, to_run, _kept(cells, to_run, options.force), context)
    files.make_folder(out / sweep.name)
    if options.force:
        put_aside(to_run, out)
    write_plan(sweep, recipe, cells, options)
    messages.announce(sweep.name, recipe.name, len(distinct), len(to_run))
    if to_run:
        messages.announce_cost(_estimate(to_run, context, launcher, options.smoke), options)
    started = time.monotonic()
    with Progress(to_run, len(distinct)) as progress:
        _run_and_wait(to_run, context, launcher, progress, options)
    if to_run:
        messages.tell_time(progress.ended_here, time.monotonic() - started)
    write_plan(sweep, recipe, cells, options)  # another command may have replaced it meanwhile
    paths = render(out, sweep.name)
    if options.wandb_artifacts and options.wandb != "disabled":
        upload_table(paths, context, lambda told: print(f"note: {told}", flush=True))
    if options.wandb != "disabled":
        messages.tell_untracked([cell for cell in to_run if cell.id in progress.outcomes], out)
    messages.tell_problems(progress.failures, progress.held, out)
    return make_report(sweep, recipe, chosen, out, progress.outcomes, paths)


def _kept(cells: Sequence[Cell], to_run: Sequence[Cell], force: bool) -> list[Cell]:
    """The cells whose runs, or whose checkpoints, stay what they are."""
    anew = {cell.id for cell in to_run} if force else set()
    return [cell for cell in cells if cell.id not in anew]


def _check(launcher: Launcher, to_run: Sequence[Cell], kept: Sequence[Cell], context: SweepContext) -> None:
    """Check that `to_run` can be built, and that all cells of the table see the same data.

    Raises:
        UserError: where they cannot, or do not.
    """
    found, old = begun(kept, context.out)
    read = []
    for run in found:
        here = contents.generated(run.config.data)
        if here is None:
            read.append(run)
        else:
            contents.check(run.data, here, run.config.data, run.where)
    if to_run or read:
        mistake = launcher.preflight(to_run, context, read)
        if mistake is not None:
            raise UserError(mistake)
    if old and not is_helper_process():
        messages.tell_old(old)


def _estimate(cells: Sequence[Cell], context: SweepContext, launcher: Launcher, smoke: bool) -> cost.Estimate | None:
    """What `cells` will cost: from earlier runs, else from a trial of some seconds where that is worth it."""
    estimate = cost.from_records(cells, context.out)
    if estimate is None and not smoke and len(cells) >= WORTH_A_TRIAL:
        tried = launcher.trial(cost.sample(cells), context)
        estimate = cost.from_trial(cells, tried) if tried else None
    return estimate


def _run_and_wait(
    cells: Sequence[Cell], context: SweepContext, launcher: Launcher, progress: Progress, options: Options
) -> None:
    """Run `cells`. Those that another process holds come last, when it has finished or left them."""
    from lightning_xvol.ledger.locking import is_held

    def keep_going() -> bool:
        return not (options.fail_fast and progress.failures)

    launcher.run(cells, context, progress, keep_going)
    while progress.held and keep_going() and not options.no_wait:
        free = [cell for cell in progress.held if not is_held(cell.folder(context.out))]
        launcher.run(free, context, progress, keep_going)  # a finished cell ends at once
        if progress.held:
            time.sleep(POLL_SECONDS)


def put_aside(cells: Sequence[Cell], out: Path) -> None:
    """Move the folders of `cells` to `<id>.old-N`, so that nothing is lost.

    Raises:
        UserError: where a process works in one of them. No folder is moved then.
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


def render(out: Path, sweep: str) -> Mapping[str, Path]:
    """Write the table and the figure of `sweep`, print the table, and return the path of each file."""
    from analysis.output.sweep import render as render_sweep
    from analysis.sources.collection import Collection

    rendering = render_sweep(Collection([out]), sweep, out)
    print(f"{rendering.text}\n\n{rendering.where()}")
    return rendering.paths
