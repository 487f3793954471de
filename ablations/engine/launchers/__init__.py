"""Ways to run cells: in this process (`inline`), in a pool of processes (`local`) or as an array of Slurm (`slurm`).

The ledger decides which cells are done, never a launcher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ablations.engine.cell import Begun, Cost, Outcome, SweepContext
from ablations.engine.sweep import Cell
from lightning_xvol.commandline import Reached

RUN_AGAIN = "run the same command again to go on from the checkpoints"


class Observer(Protocol):
    """Is told what happens to cells."""

    def started(self, cell: Cell) -> None: ...

    def progressed(self, cell: Cell, reached: Reached) -> None: ...

    def ended(self, cell: Cell, outcome: Outcome, detail: str) -> None: ...


class Launcher(Protocol):
    """Checks configurations before anything is written, then runs cells.

    Attributes:
        on_interrupt: How to go on after Ctrl-C, as a message.
    """

    on_interrupt: str

    def preflight(self, cells: Sequence[Cell], context: SweepContext, begun: Sequence[Begun] = ()) -> str | None:
        """One line about the mistake that would stop these cells, or about data that `begun` have not seen, or None."""

    def trial(self, cells: Sequence[Cell], context: SweepContext) -> dict[str, Cost]:
        """The cost of a run of each of `cells`, by group, from a trial of some seconds. Empty if there is none."""

    def run(
        self, cells: Sequence[Cell], context: SweepContext, observer: Observer, keep_going: Callable[[], bool]
    ) -> None:
        """Run `cells` in their order. Before each one `keep_going()` is asked whether to start it."""

    def close(self) -> None:
        """End what this launcher alone keeps running."""
