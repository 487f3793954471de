"""The cost of the runs of sources: cells by state, CPU time and clock time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from analysis import numbers
from analysis.sources.collection import Collection
from analysis.sweep import overview
from lightning_xvol.commandline import duration, markdown_table
from lightning_xvol.errors import UserError

OF = ("cpu", "clock", "runs")


@dataclass(frozen=True)
class Cost:
    """The cost of cells.

    Attributes:
        states: The number of cells in each of `overview.STATES`.
        cpu: Their CPU time in seconds.
        clock: Their wall time in seconds, as if they had run one after the other.
        untimed: The number of runs whose record holds no CPU time.
    """

    states: dict[str, int]
    cpu: float
    clock: float
    untimed: int

    @property
    def cpu_text(self) -> str:
        done = self.states["finished"] + self.states["diverged"]
        return numbers.DASH if self.untimed == done else duration(self.cpu)


def cost_of(sources: Collection, states: dict[str, str]) -> Cost:
    """The cost of cells, each once; `states` maps the id of a cell to its state."""
    counts = dict.fromkeys(overview.STATES, 0)
    cpu, clock, untimed = 0.0, 0.0, 0
    for cell, state in states.items():
        counts[state] += 1
        outcome = sources.outcome(cell)
        if state in ("finished", "diverged") and outcome is not None and outcome.result is not None:
            seconds = outcome.result.get("cpu_seconds")
            cpu += seconds or 0.0
            untimed += seconds is None
            clock += outcome.result["wall_seconds"] or 0.0
    return Cost(counts, cpu, clock, untimed)


def _cells(found: Iterable[overview.Overview]) -> dict[str, str]:
    return {cell: state for item in found for cell, state in zip(item.runs["cell_id"], item.runs["state"], strict=True)}


def table(sources: Collection) -> str:
    """A Markdown table with a line for each sweep and one for all runs. The last line counts a shared run once."""
    found, _ = overview.overviews(sources)
    lines = [(f"{item.layout.name} ({item.layout.recipe})", cost_of(sources, _cells([item]))) for item in found]
    lines.append(("all, each run once", cost_of(sources, _cells(found))))
    rows = [
        [f"`{name}`" if " (" in name else name, *map(str, cost.states.values()), cost.cpu_text, duration(cost.clock)]
        for name, cost in lines
    ]
    header = ("Sweep", *overview.STATES, "CPU time", "clock time")
    text = markdown_table(header, rows, (":--", *["--:"] * (len(header) - 1)))
    untimed = lines[-1][1].untimed
    without = f" {numbers.counted(untimed, 'record')} of older versions hold no CPU time." if untimed else ""
    return f"{text}\n\nClock time: the sum over runs, as if they had run one after the other.{without}"


def words(sources: Collection, of: str) -> str:
    """The CPU time, the clock time or the number of all runs, each run once.

    Args:
        sources: The sources of the runs.
        of: One of `OF`: `cpu`, `clock` or `runs`.

    Raises:
        UserError: where no sweep can be read, or for `cpu` where a record holds no CPU time.
    """
    found, _ = overview.overviews(sources)
    cost = cost_of(sources, _cells(found))
    if of == "runs":
        return str(cost.states["finished"] + cost.states["diverged"])
    if of == "cpu" and cost.untimed:
        raise UserError(f"{cost.untimed} records hold no CPU time; use --of clock")
    return duration(cost.cpu if of == "cpu" else cost.clock)
