"""The ledger of a sweep as a source: `OUT/<sweep>/cells.json` and `OUT/cells/<cell id>/`."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path

from analysis.sources.frame import Outcome
from analysis.sources.plans import SweepPlan
from analysis.sources.predictions import Predictions, read_predictions
from lightning_xvol.ledger import files, record


def is_ledger(folder: Path) -> bool:
    return any(folder.glob("*/cells.json"))


class Ledger:
    """A ledger as a source (`analysis.sources.collection.Source`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = str(folder)
        self.losses: list[str] = []

    def plans(self) -> list[SweepPlan]:
        paths = sorted(self.folder.glob("*/cells.json"))
        return [SweepPlan(path.parent.name, files.read_json(path), str(path)) for path in paths]

    def outcome(self, cell_id: str) -> Outcome | None:
        folder = record.cell_folder(self.folder, cell_id)
        result = record.read_result(folder)
        if result is not None:
            return Outcome(str(folder / "result.json"), result)
        failure = files.read_json(folder / "failure.json")
        if isinstance(failure, dict):
            return Outcome(str(folder / "failure.json"), error=str(failure.get("error", "")))
        return Outcome(str(folder)) if folder.is_dir() else None

    def predictions(self, cell_id: str) -> Predictions | None:
        folder = record.cell_folder(self.folder, cell_id)
        result = record.read_result(folder)
        return None if result is None else read_predictions(folder / record.PREDICTIONS, result)

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        path = record.cell_folder(self.folder, cell_id) / "metrics.csv"
        points: dict[int, tuple[int, float]] = {}
        if not path.exists():
            return points
        # An incomplete line is left out, and so are the lines after one that is not text.
        with files.open_text(path, newline="") as file, contextlib.suppress(csv.Error):
            for row in csv.DictReader(file):
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    if row["name"] == name:
                        points[int(row["step"])] = (int(row["epoch"]), float(row["value"]))
        return points
