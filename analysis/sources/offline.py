"""A folder of W&B offline runs alone, such as the `wandb/` folders copied off a cluster.

Each run carries what `lightning_xvol.tracking` gave it: the id of its cell, the plan of its sweep, and its record or
its error. A cell that was interrupted and went on left several files, its segments: the newest says how it ended, and
of two rows at one step the later one holds. A process that was killed from outside leaves no error, so that its cell
is missing here where the ledger may call it failed. Folders put aside by `--force` (`<cell id>.old-N`) are left out.
"""

from __future__ import annotations

import json
import math
import os
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from analysis.sources import wandb_log
from analysis.sources.cache import Cache, Curves
from analysis.sources.ledger import Outcome, Plan
from lightning_xvol import record

_PUT_ASIDE = re.compile(r"\.old-\d+$")
_NO_CURVES = {"epoch", "trainer/global_step"}


@dataclass
class Segment:
    """What one file tells of its cell."""

    cell_id: str = ""
    sweep: str = ""
    start_time: float = 0.0
    plan: str | None = None
    result: str | None = None
    error: str | None = None
    steps_per_epoch: int = 0
    total_steps: int = 0
    losses: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of its curves


def is_offline(folder: Path) -> bool:
    return next(_logs(folder), None) is not None


def _logs(folder: Path) -> Iterator[Path]:
    """Every `*.wandb` below `folder`, each once: `latest-run` is a link to one of the others."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not _PUT_ASIDE.search(name))
        for name in sorted(names):
            path = os.path.realpath(Path(parent, name))
            if name.endswith(".wandb") and path not in seen:
                seen.add(path)
                yield Path(path)


def read_segment(path: Path) -> tuple[Segment, Curves]:
    """What the file at `path` tells, and its curves: the steps done and the values, in the order in which they came.

    What is lost, or why it is none of ours, stands in `losses`.
    """
    try:
        log = wandb_log.read(path)
    except OSError as error:
        return Segment(losses=[f"cannot be read: {error.strerror}"]), {}
    config, summary = log.config, log.summary
    segment = Segment(
        cell_id=_text(config.get("cell_id")) or "",
        sweep=_text(config.get("sweep")) or "",
        start_time=log.start_time,
        plan=_text(config.get("plan_json")),
        result=_text(summary.get("result_json")),
        error=_text(summary.get("error")),
        steps_per_epoch=_whole(config.get("steps_per_epoch")),
        total_steps=_whole(config.get("total_steps")),
        losses=list(dict.fromkeys(log.losses)),
    )
    result = _parsed(segment.result)
    if not segment.cell_id and record.is_whole(result):  # the record came through where the configuration did not
        segment.cell_id = result["cell_id"]
    if not segment.cell_id:
        segment.losses.append("it holds no run of this project" if log.run_id else "no run can be read from it")
    curves = _curves(log.rows, segment.total_steps)
    segment.names = list(curves)
    return segment, curves


def _curves(rows: Sequence[Mapping[str, Any]], total_steps: int) -> Curves:
    curves: dict[str, tuple[array, array]] = {}
    for row in rows if total_steps else ():
        step = row.get("trainer/global_step")
        if not isinstance(step, float) or not math.isfinite(step):
            continue
        done = min(int(step) + 1, total_steps)  # Lightning counts from 0
        for name, value in row.items():
            if isinstance(value, float) and not name.startswith("_") and name not in _NO_CURVES:
                steps, values = curves.setdefault(name, (array("q"), array("d")))
                steps.append(done)
                values.append(value)
    return curves


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


class OfflineRuns:
    """A source: see `analysis.sources.collection.Source`."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self.losses: list[str] = []
        self._cache = Cache()
        self._segments: dict[str, list[tuple[Path, Segment]]] = {}
        found = [(path, segment) for path in _logs(folder) if (segment := self._read(path)) is not None]
        for path, segment in sorted(found, key=lambda item: (item[1].start_time, item[0])):
            if segment.losses:
                self.losses.append(f"{path}: {'; '.join(segment.losses)}")
            if segment.cell_id:
                self._segments.setdefault(segment.cell_id, []).append((path, segment))

    def _read(self, path: Path) -> Segment | None:
        try:
            stat = path.stat()
        except OSError:  # moved away in the meantime
            return None
        kept = self._cache.get(path, stat)
        if kept is not None:
            return Segment(**kept)
        segment, curves = read_segment(path)
        self._cache.put(path, stat, asdict(segment), curves)
        return segment

    def plans(self) -> list[Plan]:
        """The newest plan of each sweep, as a ledger keeps it; those of other recipes or budgets are others."""
        newest: dict[str, tuple[float, Plan]] = {}
        parsed: dict[str, Plan] = {}
        for path, segment in (item for segments in self._segments.values() for item in segments):
            if segment.plan is None:
                continue
            if segment.plan not in parsed:
                parsed[segment.plan] = Plan(segment.sweep, _parsed(segment.plan), str(path))
            plan = parsed[segment.plan]
            if segment.start_time >= newest.get(plan.identity, (0.0,))[0]:
                newest[plan.identity] = (segment.start_time, plan)
        return [plan for _, plan in newest.values()]

    def outcome(self, cell_id: str) -> Outcome | None:
        if cell_id not in self._segments:
            return None
        path, newest = self._segments[cell_id][-1]
        result = _parsed(newest.result)
        if record.is_whole(result):
            return Outcome(str(path), result)
        errors = [segment.error for _, segment in self._segments[cell_id] if segment.error is not None]
        return Outcome(str(path), error=errors[-1] if errors else None)

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        points: dict[int, tuple[int, float]] = {}
        for path, segment in self._segments.get(cell_id, ()):
            if name not in segment.names:
                continue
            # The cache may have gone since.
            curve = self._cache.curve(path, name) or read_segment(path)[1].get(name)
            for step, value in zip(*curve, strict=True) if curve else ():
                points[step] = (-(-step // (segment.steps_per_epoch or step or 1)), value)
        return dict(sorted(points.items()))


def _parsed(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except ValueError:
        return None
