# PYTHON_ARGCOMPLETE_OK
"""Every sweep that runs on one recipe, one after the other: `python -m ablations.all`.

Cells live once in the ledger, so a cell that is finished for one sweep is done for all others. Run the same command
again to resume, as for one sweep.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ablations.engine.catalogue import sweeps
from ablations.engine.cell import state
from ablations.engine.cli import EPILOG, add_flags
from ablations.engine.messages import cell_line, summary_of
from ablations.engine.options import Options, read_options
from ablations.engine.runner import run_sweep
from ablations.engine.selection import cells_of
from ablations.engine.sweep import Cell, Sweep, recipes_for
from ablations.engine.sweep_file import read_arguments
from lightning_xvol.commandline import Parser, duration
from lightning_xvol.config.recipes import DEFAULT, RECIPES, get_recipe
from lightning_xvol.errors import ExitCode, UserError, nearest, run_command_line
from lightning_xvol.ledger import record
from lightning_xvol.processes import refuse_several_tasks


def command(arguments: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0 all cells done, 1 a cell failed, 2 a sweep refused, 3 `--no-wait` left a cell."""
    given = read_arguments(make_parser(), arguments)
    names, options = given.pop("sweeps", None), read_options({"recipe": DEFAULT, **given})
    chosen = choose(names, get_recipe(str(options.recipe)).name)
    if options.dry_run:
        return list_all(chosen, options)
    refuse_several_tasks()
    codes: dict[str, int] = {}
    for name, sweep in chosen.items():
        print(f"--- {name}: {sweep.title} ({sweep.reproduces})", flush=True)
        try:
            codes[name] = run_sweep(sweep, options).exit_code
        except UserError as error:
            codes[name] = _refused(name, error)
    ran = {name: cells_of(sweep, options) for name, sweep in chosen.items() if codes[name] != ExitCode.BAD_INPUT}
    print(
        "\n".join(["--- computing time of the runs, also of earlier commands", *computing_times(ran, options.folder)])
    )
    worst = (ExitCode.FAILURE, ExitCode.BAD_INPUT, ExitCode.HELD)
    return next((code for code in worst if code in codes.values()), ExitCode.SUCCESS)


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ablations.all",
        description="Run all sweeps that are possible on one recipe, one after the other.",
        epilog=EPILOG,
    )
    parser.add_argument("--sweeps", metavar="A,B", help=f"run only these sweeps: any of {', '.join(sweeps())}")
    add_flags(parser, DEFAULT, RECIPES)
    return parser


def choose(names: str | None, recipe: str) -> Mapping[str, Sweep]:
    """The sweeps called `names`, by default all that run on `recipe`. Prints which others are left out.

    Raises:
        UserError: for a name that no sweep has.
    """
    known = sweeps()
    if names is None:
        fitting = {name: sweep for name, sweep in known.items() if recipe in recipes_for(sweep)}
        if len(fitting) < len(known):
            left_out = ", ".join(name for name in known if name not in fitting)
            print(f"left out, as they do not run on recipe {recipe}: {left_out}", flush=True)
        return fitting
    wanted = [name for name in names.split(",") if name]
    for name in wanted:
        if name not in known:
            raise UserError(f"--sweeps {name}: no such sweep{nearest(name, known)}; sweeps: {', '.join(known)}")
    if not wanted:
        raise UserError(f"--sweeps= chooses nothing; sweeps: {', '.join(known)}")
    return {name: known[name] for name in wanted}


def _refused(name: str, error: UserError) -> int:
    print(f"{name}: error: {error}", file=sys.stderr)
    return ExitCode.BAD_INPUT


def list_all(chosen: Mapping[str, Sweep], options: Options) -> int:
    """`--dry-run`: print the cells of every sweep that does not refuse the options."""
    by_sweep: dict[str, list[Cell]] = {}
    code: int = ExitCode.SUCCESS
    for name, sweep in chosen.items():
        try:
            by_sweep[name] = cells_of(sweep, options)
        except UserError as error:
            code = _refused(name, error)
    list_union(by_sweep, options)
    return code


def list_union(by_sweep: Mapping[str, Sequence[Cell]], options: Options) -> None:
    """Print every cell once, with its state and the sweeps that show it."""
    out, jobs = options.folder, options.jobs or 1
    cells = {cell.id: cell for listed in by_sweep.values() for cell in listed}
    states: dict[str, str] = {cell: state(cells[cell], out) for cell in cells}
    ids = {name: {cell.id for cell in listed} for name, listed in by_sweep.items()}
    for cell in cells.values():
        print(f"{cell_line(cell, states)}  [{', '.join(name for name in by_sweep if cell.id in ids[name])}]")
    for name, listed in by_sweep.items():
        own = {cell: states[cell] for cell in ids[name]}
        print(f"{name}: {summary_of(listed, own, out, jobs)}")
    print(f"all, recipe {options.recipe}, {summary_of(list(cells.values()), states, out, jobs)}")


def computing_times(by_sweep: Mapping[str, Sequence[Cell]], out: Path) -> list[str]:
    """A line for each sweep and one for all: how many of its cells are finished, and how long their runs took."""
    seconds: dict[str, tuple[float, float]] = {}
    lines = []
    for name, cells in by_sweep.items():
        own = {cell.id for cell in cells}
        for cell in own - seconds.keys():
            result = record.read_result(record.cell_folder(out, cell))
            if result is not None:
                seconds[cell] = result["wall_seconds"], result.get("cpu_seconds", math.nan)  # old records have none
        lines.append(_line(name, [seconds[cell] for cell in own if cell in seconds]))
    return [*lines, _line("all, shared cells once", list(seconds.values()))]


def _line(name: str, seconds: Sequence[tuple[float, float]]) -> str:
    wall, cpu = (sum(column) for column in zip(*seconds, strict=True)) if seconds else (0.0, 0.0)
    known = "" if math.isnan(cpu) else f", {duration(cpu)} of CPU time"
    return f"{name}: {len(seconds)} cells, {duration(wall)}{known}"


if __name__ == "__main__":
    run_command_line(command)
