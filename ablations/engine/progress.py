"""The progress of a sweep: bars on a terminal, elsewhere one line for each finished cell."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ablations.engine.cell import Outcome
from ablations.engine.sweep import Cell
from lightning_xvol.commandline import Reached, duration
from lightning_xvol.surroundings.printing import bare, printable
from lightning_xvol.surroundings.streams import is_terminal

BARS = {130: 40, 76: 8, 0: 0}
"""The length of a bar by the least width of a terminal that has it."""
BESIDE = len("    1000/1000 loss 1.234, top1 56.7, 3 min 20 s left")
SHORTEST = 12  # columns of a cell's name


def on_terminal() -> bool:
    """Whether stderr is a terminal. A notebook's is not, and a process without a terminal may have none."""
    return is_terminal(sys.stderr)


class Progress:
    """Shows and counts how cells end.

    The time left follows from the share of the work that this command has done itself, parts of cells included.

    Attributes:
        outcomes: How each cell has ended in this command, by id: the outcome and one line of detail.
        ended_here: How many cells have ended in this command.
    """

    def __init__(self, cells: Sequence[Cell], total: int) -> None:
        self.total = total
        self.finished = total - len(cells)
        self.to_run = len(cells)
        self.ended_here = 0
        self.shares: dict[str, float] = {}
        self.started_at = time.monotonic()
        self.cells = {cell.id: cell for cell in cells}
        self.outcomes: dict[str, tuple[Outcome, str]] = {}
        self.live = _Live(total, self.finished) if on_terminal() else None

    def __enter__(self) -> Progress:
        if self.live:
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.__exit__(kind, error, trace)

    @property
    def failures(self) -> list[tuple[Cell, str]]:
        """The cells that failed, each with the reason."""
        return [(self.cells[cell], detail) for cell, (outcome, detail) in self.outcomes.items() if outcome == "failed"]

    @property
    def held(self) -> list[Cell]:
        """The cells that another process works on."""
        return [self.cells[cell] for cell, (outcome, _) in self.outcomes.items() if outcome == "held"]

    def seconds_left(self) -> float | None:
        done = self.ended_here + sum(self.shares.values())
        if done < 0.05:
            return None
        return (time.monotonic() - self.started_at) * (self.to_run - done) / done

    def started(self, cell: Cell) -> None:
        self.shares[cell.id] = 0.0
        if self.live:
            self.live.started(cell)

    def progressed(self, cell: Cell, reached: Reached) -> None:
        self.shares[cell.id] = reached.step / reached.total
        if self.live:
            self.live.progressed(cell, reached, self.finished + sum(self.shares.values()), self.seconds_left())

    def ended(self, cell: Cell, outcome: Outcome, detail: str) -> None:
        self.shares.pop(cell.id, None)
        self.outcomes[cell.id] = outcome, detail
        if outcome == "held":
            if self.live:
                self.live.ended(cell, None, self.finished)
            return
        self.finished += 1
        self.ended_here += 1
        left = self.seconds_left()
        time_left = "" if not left else f"; about {duration(left)} left"
        line = f"[{self.finished}/{self.total}] {cell.name}: {outcome if outcome != 'done' else detail}"
        line += f" ({detail})" if outcome == "failed" else ""
        if self.live:
            self.live.ended(cell, line, self.finished)
        else:
            print(line + time_left, file=sys.stderr, flush=True)


class _Live:
    """The bars: one for the sweep and one for each running cell."""

    def __init__(self, total: int, finished: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        console = Console(file=bare(sys.stderr))
        bar = next(bar for width, bar in BARS.items() if console.width >= width)
        self.names = max(console.width - bar - BESIDE, SHORTEST)
        columns = (BarColumn(bar_width=bar, table_column=Column(no_wrap=True)),) * (bar > 0)
        self.bars = Bars(
            TextColumn("{task.description}"),
            *columns,
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
        )
        self.sweep = self.bars.add_task("cells", total=total, completed=finished, left="")
        self.running: dict[str, Any] = {}

    def __enter__(self) -> None:
        self.bars.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.bars.__exit__(*error)

    def started(self, cell: Cell) -> None:
        self.running[cell.id] = self.bars.add_task(f"  {_shortened(cell.name, self.names)}", total=None, left="")

    def progressed(self, cell: Cell, reached: Reached, finished: float, left: float | None) -> None:
        self.bars.update(self.running[cell.id], completed=reached.step, total=reached.total, left=reached.short)
        time_left = "" if left is None else f"about {duration(left)} left"
        self.bars.update(self.sweep, completed=int(finished), left=time_left)

    def ended(self, cell: Cell, line: str | None, finished: int) -> None:
        self.bars.remove_task(self.running.pop(cell.id))
        self.bars.update(self.sweep, completed=finished)
        if line is not None:
            self.bars.console.print(printable(line), highlight=False, markup=False)


def _shortened(name: str, width: int) -> str:
    """`name` without its middle if it is longer than `width`: its row and its seed are at the two ends."""
    if len(name) <= width:
        return name
    end = width // 2
    return f"{name[: width - end - 1]}…{name[-end:]}"
