"""The report on what a run of a sweep did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ablations.engine.cell import Outcome, state
from ablations.engine.sweep import Cell, Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.errors import ExitCode


@dataclass(frozen=True)
class CellReport:
    """One cell of a sweep after `run`.

    Attributes:
        row: The row of the table.
        axes: The value of each axis.
        seed: The seed.
        id: The cell's id. Cells with equal configurations have the same id.
        state: `done`, `diverged`, `failed`, `interrupted` or `missing`, or `held` where another process works on it.
        detail: One line: why it failed or is held, else nothing.
        folder: The folder of its record, checkpoints and log.
    """

    row: str
    axes: Mapping[str, Any]
    seed: int
    id: str
    state: str
    detail: str
    folder: Path


@dataclass(frozen=True)
class SweepReport:
    """What `run` did.

    Attributes:
        sweep: The name of the sweep. It is also the name of its folder in `out`.
        recipe: The name of the recipe.
        out: The ledger folder.
        ran: How many cells this call ran to an end. The others were done before, or did not end.
        counts: How many cells are in each state. A cell that two rows share counts once.
        exit_code: What the command would exit with: 0 all cells done, 1 a cell failed, 3 a cell is held.
        cells: The selected cells in the order of the table.
        files: The table and the figure: `table.md`, `table.csv`, `figure.png` and so on, with their paths. Empty where
            none was written (`dry_run`, `cell`, `emit_wandb_sweep`).
    """

    sweep: str
    recipe: str
    out: Path
    ran: int
    counts: Mapping[str, int]
    exit_code: ExitCode
    cells: tuple[CellReport, ...] = field(repr=False)
    files: Mapping[str, Path] = field(repr=False)


def make_report(
    sweep: Sweep,
    recipe: Recipe,
    chosen: Sequence[Cell],
    out: Path,
    outcomes: Mapping[str, tuple[Outcome, str]] = MappingProxyType({}),
    paths: Mapping[str, Path] = MappingProxyType({}),
) -> SweepReport:
    """The report on the chosen cells, by their outcomes in this call and by the ledger."""
    cells = []
    for cell in chosen:
        outcome, detail = outcomes.get(cell.id, ("done", ""))
        where = "held" if outcome == "held" else state(cell, out)
        told = detail if outcome in ("failed", "held") else ""
        cells.append(CellReport(cell.row, cell.axes, cell.config.seed, cell.id, where, told, cell.folder(out)))
    ended = Counter(outcome for outcome, _ in outcomes.values())
    code = ExitCode.FAILURE if ended["failed"] else ExitCode.HELD if ended["held"] else ExitCode.SUCCESS
    counts = Counter({cell.id: cell.state for cell in cells}.values())
    ran = ended.total() - ended["held"]
    return SweepReport(sweep.name, recipe.name, out, ran, dict(counts), code, tuple(cells), paths)
