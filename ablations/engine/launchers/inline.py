"""One cell after the other in this process, which is the simplest to debug."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ablations.engine.cell import Begun, Cost, SweepContext, preflight, run_cell, trial
from ablations.engine.launchers import RUN_AGAIN, Observer
from ablations.engine.sweep import Cell
from lightning_xvol.commandline import Reached
from lightning_xvol.errors import UserError


class InlineLauncher:
    """Runs each cell in this process."""

    on_interrupt = RUN_AGAIN

    def preflight(self, cells: Sequence[Cell], context: SweepContext, begun: Sequence[Begun] = ()) -> str | None:
        try:
            preflight([cell.config for cell in cells], context, begun)
        except UserError as error:
            return str(error)
        return None

    def trial(self, cells: Sequence[Cell], context: SweepContext) -> dict[str, Cost]:
        return trial(cells, context.data_dir, context.download)

    def run(
        self, cells: Sequence[Cell], context: SweepContext, observer: Observer, keep_going: Callable[[], bool]
    ) -> None:
        for cell in cells:
            if not keep_going():
                return
            observer.started(cell)

            def report(reached: Reached, cell: Cell = cell) -> None:
                observer.progressed(cell, reached)

            outcome, detail = run_cell(cell, context, report)
            observer.ended(cell, outcome, detail)

    def close(self) -> None:
        """Do nothing, because nothing is left running."""
