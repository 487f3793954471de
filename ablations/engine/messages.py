"""What a sweep prints: its cells and their states, what it will cost, and what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ablations.engine import cost
from ablations.engine.cell import has_result, state, tracking_note
from ablations.engine.options import Options
from ablations.engine.sweep import Cell
from lightning_xvol.commandline import duration
from lightning_xvol.ledger import record
from lightning_xvol.ledger.protocol import Protocol


def list_cells(sweep: str, recipe: str, cells: Sequence[Cell], out: Path, jobs: int) -> None:
    """The cells with their states, and how many there are in each state. Positions of a table may share a cell."""
    states = {cell.id: state(cell, out) for cell in cells}
    for cell in cells:
        print(cell_line(cell, states))
    positions = f" ({len(cells)} positions in the table)" if len(states) < len(cells) else ""
    print(f"{sweep}, recipe {recipe}, {summary_of(cells, states, out, jobs)}{positions}")


def cell_line(cell: Cell, states: Mapping[str, str]) -> str:
    return f"{cell.id}  {states[cell.id]:<11}  {cell.name}"


def summary_of(cells: Sequence[Cell], states: Mapping[str, str], out: Path, jobs: int) -> str:
    """How many cells are in each state, and what the unfinished ones will cost if earlier runs tell that."""
    counts = Counter(states.values())
    summary = ", ".join(f"{count} {where}" for where, count in sorted(counts.items()))
    unfinished = {cell.id: cell for cell in cells if not has_result(cell, out)}
    estimate = cost.from_records(list(unfinished.values()), out)
    return f"{len(states)} cells in {out}: {summary}" + (f"; {estimate.describe(jobs)}" if estimate else "")


def tell_protocol(protocol: Protocol, recipe: str, sweep: str, cells: Sequence[Cell], out: Path) -> None:
    """The hash of the protocol, the cells that it does not plan, and the finished ones that were not run under it."""
    distinct = {cell.id: cell for cell in cells}.values()
    planned = {
        cell.id for cell in cells if protocol.covers(recipe, sweep, cell.row, cell.axes, cell.config.seed)
    }  # of the rows that share a cell, one may be planned
    print(f"protocol {protocol.file}, SHA-256 {protocol.sha256}", flush=True)
    if len(planned) < len(distinct):
        print(f"note: {len(distinct) - len(planned)} of {len(distinct)} cells are not in it; they are exploratory")
    results = [record.read_result(cell.folder(out)) for cell in distinct]
    other = sum(result is not None and not protocol.stamped(result) for result in results)
    if other:
        print(f"note: {other} finished cells were not run under it, and stay exploratory; --force runs them again")


def announce(sweep: str, recipe: str, total: int, to_run: int) -> None:
    print(f"{sweep}, recipe {recipe}: {total} cells, {total - to_run} done, {to_run} to run", flush=True)


def announce_cost(estimate: cost.Estimate | None, options: Options) -> None:
    if estimate is not None:
        print(estimate.describe(options.jobs or 1), flush=True)
    elif not options.smoke:
        print(f"no run like these has finished in {options.folder} yet, so their cost is not known", flush=True)


def tell_old(count: int) -> None:
    runs = "1 finished run is" if count == 1 else f"{count} finished runs are"
    print(f"note: {runs} older than the digest of data, and count as done on the data that are here", flush=True)


def tell_time(cells: int, seconds: float) -> None:
    print(f"{cells} cells in {duration(seconds)}")


def tell_untracked(cells: Sequence[Cell], out: Path) -> None:
    """The cells that W&B does not have as the user asked, by the reason."""
    by_note: dict[str, list[Cell]] = {}
    for cell in cells:
        note = tracking_note(cell, out)
        if note is not None:
            by_note.setdefault(note, []).append(cell)
    for note, those in by_note.items():
        first = f"{those[0].id} {those[0].name}" + (f" and {len(those) - 1} more" if those[1:] else "")
        print(f"{note}: {first}; the results are whole in {out}")


def tell_problems(failures: Sequence[tuple[Cell, str]], held: Sequence[Cell], out: Path) -> None:
    """The cells that failed, with the reason and the log, and those that another process holds."""
    for cell, detail in failures:
        print(f"failed: {cell.id} {cell.name}: {detail}; see {cell.folder(out)}/log.txt")
    for cell in held:
        print(f"held: {cell.id} {cell.name}: another process works on it")
    if failures:
        print(f"{len(failures)} cells failed; the same command tries them again")
