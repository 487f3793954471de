"""The cells of a sweep as W&B runs, in files or on a server.

`lightning_xvol.ledger.tracked` says what a run carries: the id of its cell, the plan of its sweep without the ids of
other cells, and its record; `error` holds the error that ended it. So a run that is here alone makes its own row. A
cell may have several runs, its segments. A complete record decides how the cell ended, whatever the clocks of the
machines said; without one, the newest error does. Of two rows at the same step, the later one counts. A process that
was killed from outside leaves no error: its cell is missing here, where a ledger may call it failed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.sources.cache import Curves
from analysis.sources.frame import Outcome
from analysis.sources.plans import SweepPlan, agreed, widened
from lightning_xvol.ledger import checks, files, packed, record, tracked

_NO_CURVES = {"epoch", "step", "trainer/global_step"}


@dataclass
class Segment:
    """What one W&B run holds of its cell.

    Attributes:
        cell_id, sweep: The cell and the name of its sweep; empty where unknown.
        start_time: When the run began, in seconds since 1970.
        group_id, seed: The group and the seed of the cell; empty and -1 where unknown.
        packed: The plan of the sweep, as `packed.pack` writes it.
        digest: A short hash of this plan; empty where unknown.
        number: The number of the group in this plan; -1 where unknown.
        plan: The same as JSON, as a former version wrote it.
        result: The record of the cell, as JSON.
        error: The error with which the run ended.
        steps_per_epoch, total_steps: Steps of training; 0 where unknown.
        is_table: Whether it is no run of a cell but the table of a sweep.
        losses: A sentence for each part of the run that cannot be read.
        names: The names of its curves, where they were read together with it.
    """

    cell_id: str = ""
    sweep: str = ""
    start_time: float = 0.0
    group_id: str = ""
    seed: int = -1
    packed: str | None = None
    digest: str = ""
    number: int = -1
    plan: str | None = None
    result: str | None = None
    error: str | None = None
    steps_per_epoch: int = 0
    total_steps: int = 0
    is_table: bool = False
    losses: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def make_segment(config: Mapping[str, Any], summary: Mapping[str, Any], start_time: float) -> Segment:
    """The segment of a run, of this version or of a former one, which wrote everything into the configuration."""
    about = _parsed(_text(summary.get(tracked.CELL)))
    about = about if isinstance(about, dict) else config
    seed: Any = about.get("seed")
    number: Any = about.get("number")
    segment = Segment(
        cell_id=_name(about.get("cell_id")),
        sweep=_text(about.get("sweep")) or "",
        start_time=start_time,
        group_id=_text(about.get("group_id")) or "",
        seed=seed if checks.is_whole(seed, 0) else -1,
        packed=_text(summary.get(tracked.PLAN)),
        digest=_name(about.get("plan")),
        number=number if checks.is_whole(number, 0) else -1,
        plan=_text(config.get("plan_json")),
        result=_text(summary.get(tracked.RESULT)) or _text(summary.get("result_json")),
        error=_text(summary.get("error")),
        steps_per_epoch=_whole(about.get("steps_per_epoch")),
        total_steps=_whole(about.get("total_steps")),
        is_table=_text(about.get("table")) is not None,
    )
    result = _parsed(segment.result)
    if not segment.cell_id and record.is_whole(result):  # the record survived, the configuration did not
        segment.cell_id = _name(result.get("cell_id"))
    return segment


def make_curves(rows: Iterable[Mapping[str, Any]], total_steps: int) -> Curves:
    """The steps done and the values of each metric, in the order of `rows`; every number there is a float.

    A former version wrote the number of the batch, from 0, instead of `step`.
    """
    curves: dict[str, tuple[array, array]] = {}
    for row in rows if total_steps else ():
        step, counted_from = (row["step"], 1) if "step" in row else (row.get("trainer/global_step"), 0)
        if not isinstance(step, float) or not counted_from <= step <= checks.LARGEST_WHOLE:
            continue
        done = min(int(step) + 1 - counted_from, total_steps)
        for name, value in row.items():
            counts = isinstance(value, float) and checks.is_measured(value, *record.bounds(name))
            if counts and not name.startswith("_") and name not in _NO_CURVES:
                steps, values = curves.setdefault(name, (array("q"), array("d")))
                steps.append(done)
                values.append(value)
    return curves


class TrackedRuns(ABC):
    """The base of the sources of W&B runs (`analysis.sources.collection.Source`)."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.losses: list[str] = []
        self._segments: dict[str, list[tuple[str, Segment]]] = {}
        self._cells: dict[tuple[str, int], str] = {}
        self._texts: dict[str, dict[str, None]] = {}
        self._groups: dict[str, dict[int, str]] = {}

    def _take(self, found: Iterable[tuple[str, Segment]]) -> None:
        """Add segments, each with its file or address."""
        for where, segment in sorted(found, key=lambda item: (item[1].start_time, item[0])):
            if segment.losses:
                self.losses.append(f"{where}: {'; '.join(segment.losses)}")
            if segment.cell_id:
                self._segments.setdefault(segment.cell_id, []).append((where, segment))
                self._cells[segment.group_id, segment.seed] = segment.cell_id
                if segment.packed is not None:
                    self._texts.setdefault(segment.digest, {})[segment.packed] = None
                if segment.digest and segment.number >= 0 and segment.group_id:
                    self._groups.setdefault(segment.digest, {})[segment.number] = segment.group_id

    def plans(self) -> list[SweepPlan]:
        """The newest plan of each sweep, as in a ledger. Another recipe or budget makes another sweep.

        A run of fewer seeds, or of fewer rows, does not hide the finished cells of an earlier plan.
        """
        parsed: dict[str, SweepPlan] = {}
        starts: dict[str, float] = {}
        for where, segment in (item for segments in self._segments.values() for item in segments):
            text = (segment.packed and segment.digest) or segment.packed or segment.plan
            if text is not None:
                if text not in parsed:
                    parsed[text] = SweepPlan.of(segment.sweep, self._content(segment), where)
                starts[text] = max(segment.start_time, starts.get(text, segment.start_time))
        sweeps: dict[str, list[SweepPlan]] = {}
        for text in sorted(parsed, key=starts.__getitem__):
            sweeps.setdefault(parsed[text].identity, []).append(parsed[text])
        return [self._newest(plans) for plans in sweeps.values()]

    def _content(self, segment: Segment) -> Any:
        """The plan that `segment` carries."""
        if segment.packed is None:
            return _parsed(segment.plan)
        texts = self._texts[segment.digest] if segment.digest else [segment.packed]
        name = segment.digest or tracked.digest({"text": segment.packed})
        return packed.unpack(texts, self._groups.get(segment.digest, {}), name)

    def _newest(self, plans: Sequence[SweepPlan]) -> SweepPlan:
        """The last of `plans`, which are of one sweep, with the finished cells that the others list."""
        if plans[-1].fault:
            return plans[-1]
        linked = [
            replace(plan, content={**plan.content, "cells": list(map(self._linked, plan.content["cells"]))})
            for plan in agreed(plans)
        ]
        return widened(linked[-1], linked, self._has_result)

    def _linked(self, cell: Mapping[str, Any]) -> Mapping[str, Any]:
        """`cell` with the id of its run, if one is here."""
        run = self._cells.get((cell["group_id"], cell["seed"]))
        if run is None or cell.get("begun", True):
            return cell
        return {**{key: value for key, value in cell.items() if key != "begun"}, "cell_id": run}

    def _has_result(self, cell_id: str) -> bool:
        outcome = self.outcome(cell_id)
        return outcome is not None and outcome.result is not None

    def outcome(self, cell_id: str) -> Outcome | None:
        if cell_id not in self._segments:
            return None
        segments = self._segments[cell_id]
        unfit: Outcome | None = None
        for where, segment in reversed(segments):
            result = _parsed(segment.result)
            if record.is_whole(result):
                found = Outcome.of(where, result)
                if found.result is not None:
                    return found
                unfit = unfit or found
        errors = [segment.error for _, segment in segments if segment.error is not None]
        return unfit or Outcome(segments[-1][0], error=errors[-1] if errors else None)

    def cells(self) -> list[str]:
        return list(self._segments)

    def predictions(self, cell_id: str) -> None:  # noqa: B027 (the same for every kind of source)
        """Nothing: W&B gets no predictions of single images."""

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        points: dict[int, tuple[int, float]] = {}
        for where, segment in self._segments.get(cell_id, ()):
            curve = self._curve(where, segment, name)
            for step, value in zip(*curve, strict=True) if curve else ():
                points[step] = (-(-step // (segment.steps_per_epoch or step or 1)), value)
        return dict(sorted(points.items()))

    @abstractmethod
    def _curve(self, where: str, segment: Segment, name: str) -> tuple[array, array] | None:
        """The steps done and the values of the metric `name` in the segment at `where`."""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _name(value: Any) -> str:
    """`value` if it can be the id of a cell, else an empty text."""
    return "" if checks.problems(value, checks.name) else str(value)


def _whole(value: Any) -> int:
    return value if checks.is_whole(value, 1) else 0


def _parsed(text: str | None) -> Any:
    return files.parse_json(text or "")
