"""Ways to run cells: here (`inline`), in a pool of processes (`local`) or as an array of Slurm (`slurm`).

A launcher decides nothing: the ledger says what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ablations.engine.cell import Cost, Outcome, Settings
from ablations.engine.sweep import Cell

RUN_AGAIN = "run the same command again to go on from the checkpoints"


class Observer(Protocol):
    """Hears what happens to cells."""

    def started(self, cell: Cell) -> None: ...

    def progressed(self, cell: Cell, step: int, total: int) -> None: ...

    def ended(self, cell: Cell, outcome: Outcome, detail: str) -> None: ...


class Launcher(Protocol):
    """Checks configurations before anything is written, then runs cells.

    `on_interrupt` says how to go on after Ctrl-C.
    """

    on_interrupt: str

    def preflight(self, cells: Sequence[Cell], settings: Settings) -> str | None:
        """The mistake that would stop these cells, in one line, or None."""

    def trial(self, cells: Sequence[Cell], settings: Settings) -> dict[str, Cost]:
        """What a run of each of `cells` costs, by group, tried for some seconds; empty where that tells nothing."""

    def run(
        self, cells: Sequence[Cell], settings: Settings, observer: Observer, keep_going: Callable[[], bool]
    ) -> None:
        """Run `cells` in their order, as long as `keep_going()` says so before each."""

    def close(self) -> None: ...
