"""Open records: the finished cells of sweeps in one file, `results/<recipe>.jsonl.gz`, as a source like any other.

One line of JSON per finished cell, in the order of their ids:

| key | content |
| --- | --- |
| `record` | the record of the cell (`lightning_xvol.ledger.record`), without names of folders and machines |
| `curves` | per metric, `[steps done, epoch, value]` of each evaluation; a value that is not finite is a text |
| `sweeps` | per sweep that shows the cell: `plan` (its `cells.json` without the cells) and `places` in its table |

The first line that shows a sweep also lists the planned cells without a result, as `missing`.

The text is a function of the runs alone: equal runs give equal bytes, before and after compression. Lines of several
such files may be joined: a cell with several lines has the places of all of them.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.sources import contradictions
from analysis.sources.frame import Outcome
from analysis.sources.plans import SweepPlan
from lightning_xvol.config.metrics import validation_name
from lightning_xvol.ledger import checks, files, record

SUFFIXES = (".jsonl.gz", ".jsonl")
KEPT = (*record.RESULT_KEYS, "optimisation_id", "cpu_seconds", "data", "protocol")
"""The keys of a record that an archive keeps. `metrics_bytes` and `tracking` speak of files that it has not."""
LONGEST_LINE = 64 << 20
"""The most bytes of a line. A longer one is not held in memory: a small file may unpack to any number of bytes."""
_OF_CELL = ("cell_id", "group_id", "seed")
# An absolute path, or one in a home folder. What follows a word, a colon or another slash is part of something else.
_PATH = re.compile(
    r"(?<![\w.:/\\~-])(?:[A-Za-z]:[/\\]|~\w*[/\\]|/(?=[\w.~]))(?:[^\s/\\'\",;:()]+[/\\])*([^\s/\\'\",;:()]*)"
)


def is_archive(name: str | Path) -> bool:
    """Whether `name` is that of an archive."""
    return str(name).endswith(SUFFIXES)


class Archive:
    """An archive as a source (`analysis.sources.collection.Source`).

    A line that is not a finished cell costs itself alone, and `losses` names it.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self.losses: list[str] = []
        self._lines: dict[str, dict[str, Any]] = {}
        self._contradictions: dict[str, str] = {}
        number = 0
        try:
            for number, text in enumerate(_texts(path), start=1):
                fault = self._take(text)
                if fault:
                    self.losses.append(f"{self.where}: line {number} {fault}")
        except (OSError, EOFError, zlib.error) as error:
            self.losses.append(f"{self.where}: cannot be read after line {number} ({error})")
        if self._contradictions:
            self.losses.append(contradictions.sentence(self.where, self._contradictions))

    def _take(self, text: bytes | None) -> str:
        """Add a line. Returns why it or its result is left out, as the rest of a sentence; empty where it is not."""
        if text is None:
            return f"is left out, because it has more than {LONGEST_LINE >> 20} MiB"
        line = files.parse_json(text)
        result = line.get("record") if isinstance(line, dict) else None
        if line is None or not isinstance(result, dict):
            return "is not a finished cell and is left out"
        newer = record.newer_schema(result)
        if newer:
            return f"is left out, because it {newer}"
        if not record.is_whole(result) or not isinstance(result["cell_id"], str) or not _fits(line):
            return "is not a finished cell and is left out"
        known = self._lines.setdefault(result["cell_id"], line)
        if known is not line:
            self._join(known, line)
        return record.fault(result)

    def _join(self, known: dict[str, Any], line: dict[str, Any]) -> None:
        """Add another line of a cell to that which came first."""
        known["sweeps"] += line["sweeps"]
        if record.fault(line["record"]):
            return
        if record.fault(known["record"]):
            known |= {key: line[key] for key in ("record", "curves")}
        what = contradictions.difference(known["record"], line["record"])
        if what:
            self._contradictions.setdefault(known["record"]["cell_id"], what)
            return
        for name, points in line["curves"].items():
            known["curves"][name] = max(known["curves"].get(name, []), points, key=len)

    def plans(self) -> list[SweepPlan]:
        """The plan of each sweep, with the cells that are here, in the order of the first plan."""
        plans: dict[str, SweepPlan] = {}
        cells: dict[str, dict[str, tuple[int, dict[str, Any]]]] = {}
        for line in self._lines.values():
            for sweep in line["sweeps"]:
                plan, places = sweep["plan"], sweep["places"]
                made = SweepPlan(str(plan.get("sweep")), plan, self.where)
                plans.setdefault(made.identity, made)
                own = {key: line["record"][key] for key in _OF_CELL}
                for place in [{**place, **own} for place in places] + sweep.get("missing", []):
                    if place["cell_id"] == own["cell_id"] or place["cell_id"] not in self._lines:
                        cell = {key: value for key, value in place.items() if key != "order"}
                        # Several lines may give a cell the same place, and an older version another label.
                        text = json.dumps({**cell, "label": None}, sort_keys=True)
                        cells.setdefault(made.identity, {}).setdefault(text, (place["order"], cell))
        return [
            self._checked(plan, [cell for _, cell in sorted(cells.get(name, {}).values(), key=lambda pair: pair[0])])
            for name, plan in plans.items()
        ]

    def _checked(self, plan: SweepPlan, cells: list[dict[str, Any]]) -> SweepPlan:
        found = SweepPlan.of(plan.name, {**plan.content, "cells": cells}, f"{self.where}, sweep {plan.name}")
        return replace(found, where=self.where)

    def outcome(self, cell_id: str) -> Outcome | None:
        line = self._lines.get(cell_id)
        return None if line is None else Outcome.of(f"{self.where}, cell {cell_id}", line["record"])

    def cells(self) -> list[str]:
        return list(self._lines)

    def predictions(self, cell_id: str) -> None:
        """Nothing: an archive holds no predictions of single images."""

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        line = self._lines.get(cell_id)
        points = () if line is None else line["curves"].get(name, ())
        return {
            step: (epoch, float(value))
            for step, epoch, value in points
            if record.is_point(name, step, epoch, float(value))
        }


def _fits(line: Any) -> bool:
    """Whether a line has the form that this module writes. The contents of records and plans are checked elsewhere."""
    sweeps, curves = line.get("sweeps"), line.get("curves")
    if not isinstance(sweeps, list) or not isinstance(curves, dict):
        return False
    return (
        not checks.problems(sweeps, checks.plain)
        and all(map(_is_shown, sweeps))
        and all(isinstance(points, list) and all(map(_is_point, points)) for points in curves.values())
    )


def _is_shown(sweep: Any) -> bool:
    if not isinstance(sweep, dict) or not isinstance(sweep.get("plan"), dict):
        return False
    places, missing = sweep.get("places"), sweep.get("missing", [])
    if not isinstance(places, list) or not isinstance(missing, list):
        return False
    return all(isinstance(place, dict) and isinstance(place.get("order"), int) for place in places + missing) and all(
        isinstance(place.get("cell_id"), str) for place in missing
    )


def _is_point(point: Any) -> bool:
    try:
        step, epoch, value = point
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return isinstance(step, int) and isinstance(epoch, int)


def _texts(path: Path) -> Iterator[bytes | None]:
    """The lines of the file; None for one that is too long."""
    with files.open_bytes(path) as file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        lines = gzip.GzipFile(fileobj=file) if packed else file
        while first := lines.readline(LONGEST_LINE):
            last, is_long = first, False
            while last and not last.endswith(b"\n"):
                last = lines.readline(LONGEST_LINE)
                is_long = is_long or bool(last)
            yield None if is_long else first


class ToArchive:
    """What an archive of the source `runs` holds: a `Collection`, which this module must not import.

    Attributes:
        sweeps: The names of the sweeps.
        missing: The ids of planned cells without a result.
        lines: The lines.

    Args:
        runs: The source.
        recipe: The recipe whose sweeps are kept.
    """

    def __init__(self, runs: Any, recipe: str) -> None:
        plans = [plan for plan in runs.whole_plans() if plan.content["recipe"] == recipe]
        plans.sort(key=lambda plan: plan.identity)
        self.sweeps = list(dict.fromkeys(plan.name for plan in plans))
        self.missing: set[str] = set()
        self.lines: list[dict[str, Any]] = []
        shown: dict[str, list[dict[str, Any]]] = {}
        own_metrics: dict[str, set[str]] = {}
        results = {cell["cell_id"]: _result(runs, cell["cell_id"]) for plan in plans for cell in plan.content["cells"]}
        for plan in plans:
            about = {key: value for key, value in plan.content.items() if key != "cells"}
            of_cell: dict[str, list[dict[str, Any]]] = {}
            for order, cell in enumerate(plan.content["cells"]):
                of_cell.setdefault(cell["cell_id"], []).append({"order": order, **cell})
            entries = []
            for cell_id, places in of_cell.items():
                if results[cell_id] is None:
                    self.missing.add(cell_id)
                    continue
                own = [{key: value for key, value in place.items() if key not in _OF_CELL} for place in places]
                entry = {"plan": about, "places": own}
                shown.setdefault(cell_id, []).append(entry)
                own_metrics.setdefault(cell_id, set()).add(about["metric"])
                entries.append((cell_id, entry))
            lacking = [place for cell_id, places in of_cell.items() if cell_id in self.missing for place in places]
            if entries and lacking:
                min(entries, key=lambda pair: pair[0])[1]["missing"] = lacking
        for cell_id in sorted(shown):
            result = results[cell_id]
            curves = curves_of(runs, result, own_metrics[cell_id])
            points = {name: _points(curve) for name, curve in curves.items()}
            self.lines.append({"record": public(result), "curves": points, "sweeps": shown[cell_id]})

    def text(self) -> str:
        return "".join(
            json.dumps(line, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n" for line in self.lines
        )

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        content = self.text().encode()
        if path.suffix == ".gz":
            content = gzip.compress(content, mtime=0)  # without the time, equal text gives equal bytes
        files.write_bytes(path, content)


def curves_of(runs: Any, result: Mapping[str, Any], metrics: Iterable[str]) -> dict[str, dict[int, tuple[int, float]]]:
    """The curves of a run, by the names of their metrics. A curve has an epoch and a value for each step.

    The metrics are those of its record and `metrics`, which are those of the sweeps that show the run. A run that
    diverged may have values of a metric that its record lacks.
    """
    wanted = {*(result["metrics"] or ()), *metrics, *map(validation_name, metrics)}
    curves = {name: runs.curve(result["cell_id"], name) for name in sorted(wanted)}
    return {name: curve for name, curve in curves.items() if curve}


def _result(runs: Any, cell_id: str) -> Any:
    outcome = runs.outcome(cell_id)
    return None if outcome is None else outcome.result


def _points(curve: Mapping[int, tuple[int, float]]) -> list[list[Any]]:
    return [
        [step, epoch, value if math.isfinite(value) else str(value)] for step, (epoch, value) in sorted(curve.items())
    ]


def public(result: Mapping[str, Any]) -> dict[str, Any]:
    """A record without names of folders and of this machine. Of an absolute path, the last part stays."""
    kept: dict[str, Any] = {key: result[key] for key in KEPT if key in result}
    if isinstance(kept.get("data"), Mapping):
        kept["data"] = {key: value for key, value in kept["data"].items() if key != "folder"}
    if isinstance(kept.get("environment"), Mapping) and "variables" in kept["environment"]:
        # A folder of caches chooses no kernels, and its name may hold that of the user.
        settings = str(kept["environment"]["variables"]).split(" ")
        others = " ".join(setting for setting in settings if not _PATH.search(setting))
        kept["environment"] = {**kept["environment"], "variables": others}
    # A name of the configuration may happen to be that of the machine.
    host = _host()
    return {key: _cleaned(value, None if key == "config" else host) for key, value in kept.items()}


def _host() -> re.Pattern[str] | None:
    names = {name for name in (socket.gethostname(), socket.gethostname().partition(".")[0]) if len(name) > 1}
    listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{listed})(?!\w)") if listed else None


def _cleaned(value: Any, host: re.Pattern[str] | None) -> Any:
    if isinstance(value, Mapping):
        return {key: _cleaned(item, host) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_cleaned(item, host) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, str):
        return value
    text = _PATH.sub(lambda match: match[1], value)
    return text if host is None else host.sub("host", text)
