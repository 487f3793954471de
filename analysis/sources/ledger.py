"""The ledger of a sweep as a source: `OUT/<sweep>/cells.json` and `OUT/cells/<cell id>/`."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import os
from pathlib import Path
from typing import Any

from analysis.sources.frame import Outcome
from analysis.sources.plans import SweepPlan
from analysis.sources.predictions import Predictions, read_predictions
from analysis.sources.tree import Tree, reason
from lightning_xvol.ledger import checks, files, record

PLAN, METRICS = "cells.json", "metrics.csv"


def is_ledger(folder: Path) -> bool:
    return any(os.path.lexists(sweep / PLAN) for sweep in _folders(folder))


def _folders(folder: Path) -> list[Path]:
    """The folders that may be those of sweeps. A hidden one is what a killed `restore` leaves, for example."""
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in found if path.is_dir() or path.is_symlink()]


class Ledger:
    """A ledger as a source (`analysis.sources.collection.Source`). Each file is read and checked once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = str(folder)
        self._tree = Tree(folder)
        self.losses = self._tree.notes
        self._plans = [plan for path in _folders(folder) if (plan := self._plan(path)) is not None]
        cells = {cell["cell_id"]: None for plan in self._plans for cell in plan.content.get("cells", ())}
        for cell in cells:
            self._tree.check(record.cell_folder(folder, cell) / METRICS)
        self.outcome = functools.cache(self._outcome)

    def plans(self) -> list[SweepPlan]:
        return self._plans

    def _plan(self, folder: Path) -> SweepPlan | None:
        path = folder / PLAN
        try:
            content = self._tree.read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return SweepPlan(folder.name, {}, str(path), fault=f"{str(path)!r} cannot be read: {reason(error)}")
        return SweepPlan.of(folder.name, files.parse_json(content), str(path))

    def _outcome(self, cell_id: str) -> Outcome | None:
        folder = record.cell_folder(self.folder, cell_id)
        path = folder / "result.json"
        try:
            result = self._json(path)
            if record.is_whole(result) and record.is_complete(result, folder):
                return Outcome.of(str(path), result)
            path = folder / "failure.json"
            failure = self._json(path)
        except OSError as error:
            return Outcome(str(path), error=f"{str(path)!r} cannot be read: {reason(error)}")
        if isinstance(failure, dict):
            told = failure.get("error")
            return Outcome(str(path), error=told if isinstance(told, str) else "")
        return Outcome(str(folder)) if folder.is_dir() else None

    def cells(self) -> list[str]:
        """The ids of the cells that have a folder. A folder that `--force` put aside does not count."""
        try:
            names = sorted(path.name for path in (self.folder / "cells").iterdir())
        except OSError:
            return []
        return [name for name in names if not checks.problems(name, checks.name) and ".old-" not in name]

    def predictions(self, cell_id: str) -> Predictions | None:
        outcome = self.outcome(cell_id)
        if outcome is None or outcome.result is None:
            return None
        path = record.cell_folder(self.folder, cell_id) / record.PREDICTIONS
        return read_predictions(path, outcome.result, self._tree.read)

    def _json(self, path: Path) -> Any | None:
        """The content of `path`, or None if it is missing, incomplete or not JSON; else an OSError."""
        try:
            return files.parse_json(self._tree.read(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        path = record.cell_folder(self.folder, cell_id) / METRICS
        points: dict[int, tuple[int, float]] = {}
        try:
            text = self._tree.read(path).decode(errors="replace")
        except OSError:  # it is missing, or a note says why it is not read
            return points
        # An incomplete line is left out, and so are the lines after one that is not text.
        with contextlib.suppress(csv.Error):
            for row in csv.DictReader(io.StringIO(text, newline="")):
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    if row["name"] == name:
                        step, epoch, value = int(row["step"]), int(row["epoch"]), float(row["value"])
                        if record.is_point(name, step, epoch, value):
                            points[step] = epoch, value
        return points
