"""What of a report its protocol planned, and what is exploratory (`lightning_xvol.ledger.protocol`)."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis import numbers
from analysis.sources.collection import Collection
from analysis.sweep.overview import Overview, all_runs
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.protocol import PlannedSweep, Protocol, read_protocol, recorded

MOST_LISTED = 10


@dataclass(frozen=True)
class Frozen:
    """The protocol of the runs of a report.

    Attributes:
        stamps: How many of the done runs name each protocol, as (file, SHA-256).
        runs: How many runs are done.
        protocol: The protocol, if its file is here.
        planned: The cells that the protocol plans in any sweep.
    """

    stamps: Counter[tuple[str, str]]
    runs: int
    protocol: Protocol | None
    planned: frozenset[str]

    @classmethod
    def of(cls, sources: Collection, found: Sequence[Overview], path: Path | None) -> Frozen:
        """The protocol at `path`, else the one that most runs name if that file is below the current folder.

        Raises:
            UserError: for a file at `path` that is no protocol.
        """
        done = all_runs(found)
        done = done[done["state"].isin(["finished", "diverged"])]
        stamps: Counter[tuple[str, str]] = Counter()
        for cell in done["cell_id"]:
            stamp = _stamp(sources, cell)
            if stamp is not None:
                stamps[stamp] += 1
        protocol = None
        if path is not None:
            protocol = read_protocol(path)
        elif stamps:
            [((file, digest), _)] = stamps.most_common(1)
            if not Path(file).is_absolute() and ".." not in Path(file).parts and Path(file).is_file():
                with contextlib.suppress(UserError):  # another file of that name
                    here = read_protocol(Path(file))
                    protocol = here if digest in here.versions else None
        planned = frozenset() if protocol is None else frozenset(_planned_cells(protocol, sources))
        return cls(stamps, len(done), protocol, planned)

    @property
    def fact(self) -> str:
        """The file and the hash of each protocol, with the number of runs that were made under it."""
        texts = [f"{file}, SHA-256 {digest} ({count} of {self.runs} runs)" for (file, digest), count in self._listed()]
        if self.protocol is not None and self.protocol.sha256 not in {digest for _, digest in self.stamps}:
            texts.append(f"{self.protocol.file} as it is now, SHA-256 {self.protocol.sha256}")
        return "; ".join(texts)

    def _listed(self) -> list[tuple[tuple[str, str], int]]:
        return sorted(self.stamps.items(), key=lambda item: (-item[1], item[0]))

    def warnings(self) -> list[str]:
        """A sentence if runs name a protocol that is not here, or if they name another one."""
        if self.protocol is None:
            return [f"the protocol is not here ({self.fact}); name it with --protocol"] if self.stamps else []
        others = sum(count for (_, digest), count in self.stamps.items() if digest not in self.protocol.versions)
        if not others:
            return []
        return [f"{others} runs were made under a protocol that is no earlier version of {self.protocol.file}"]

    def lines(self, sources: Collection, overview: Overview) -> list[str]:
        """What of a sweep is in the protocol, and what is exploratory; nothing without a protocol."""
        if self.protocol is None:
            return []
        layout = overview.layout
        planned = self.protocol.of(layout.recipe, layout.name)
        if not planned or layout.smoke:
            return [f"Exploratory: {self.protocol.file} does not plan this sweep."]
        lines = [_primary(overview, planned)]
        outside, unstamped = self._outside(sources, overview)
        if outside:
            more = f" and {len(outside) - MOST_LISTED} more" if len(outside) > MOST_LISTED else ""
            lines.append(f"Exploratory, as not in the protocol: {'; '.join(outside[:MOST_LISTED])}{more}.")
        if unstamped:
            lines.append(f"Exploratory, as not run under the protocol: {unstamped} planned runs.")
        missing = self._missing(overview, planned)
        if missing:
            lines.append(f"Planned and not done: {missing} of the runs that the sweep lists.")
        return lines

    def _outside(self, sources: Collection, overview: Overview) -> tuple[list[str], int]:
        """The done runs that the protocol does not plan, by place and seeds, and the number of others without it."""
        layout = overview.layout
        seeds: dict[str, list[int]] = {}
        unstamped = 0
        for run in overview.runs.to_dict("records"):
            if run["state"] not in ("finished", "diverged"):
                continue
            if run["cell_id"] not in self.planned:
                places = [layout.place(axis, run[axis]) for axis in layout.axes]
                seeds.setdefault(", ".join([run["label"], *places]), []).append(int(run["seed"]))
            elif not self._is_stamped(sources, run["cell_id"]):
                unstamped += 1
        return [f"{place} (seeds {numbers.integers(those)})" for place, those in seeds.items()], unstamped

    def _missing(self, overview: Overview, planned: Sequence[PlannedSweep]) -> int:
        runs = overview.runs[overview.runs["state"].isin(["missing", "failed"])].to_dict("records")
        return sum(any(each.covers(run["operator"], run, int(run["seed"])) for each in planned) for run in runs)

    def _is_stamped(self, sources: Collection, cell: str) -> bool:
        stamp = _stamp(sources, cell)
        return self.protocol is not None and stamp is not None and stamp[1] in self.protocol.versions


def _planned_cells(protocol: Protocol, sources: Collection) -> Iterator[str]:
    """The cells that the protocol plans in any sweep, shown or not; sweeps share cells."""
    for sweep, frame in sources.variants(sources.sweeps()):
        for planned in protocol.of(sweep.recipe, sweep.name):
            for run in frame[frame["metric"] == sweep.metric].to_dict("records"):
                if planned.covers(run["operator"], run, int(run["seed"])):
                    yield run["cell_id"]


def _stamp(sources: Collection, cell: str) -> tuple[str, str] | None:
    outcome = sources.outcome(cell)
    stamp = None if outcome is None or outcome.result is None else recorded(outcome.result)
    return None if stamp is None else (stamp["file"], stamp["sha256"])


def _primary(overview: Overview, planned: Sequence[PlannedSweep]) -> str:
    pairs = dict.fromkeys(pair for each in planned for pair in each.contrasts)
    if not pairs:
        return "In the protocol, without a primary contrast: every difference is secondary."
    return f"Primary contrasts: {'; '.join(_difference(overview, *pair) for pair in pairs)}. Others are secondary."


def _difference(overview: Overview, row: str, other: str) -> str:
    labels = overview.layout.labels
    return f"{labels.get(row, row)} {numbers.MINUS} {labels.get(other, other)}"
