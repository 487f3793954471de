"""Any mix of sources as one: ledgers, folders of W&B offline runs and W&B servers, merged by the id of the cell."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from analysis.sources.frame import Outcome, SweepLayout, assemble
from analysis.sources.ledger import Ledger, is_ledger
from analysis.sources.offline import OfflineRuns, is_offline
from analysis.sources.plans import Plan, merged
from analysis.sources.server import ServerRuns, is_server
from lightning_xvol.errors import UserError, nearest

WANTED = "the --out folder of a sweep, one of W&B runs, or wandb:ENTITY/PROJECT"
"""What a user may name as a source."""


class Source(Protocol):
    """Where runs are read from; `losses` says what in it cannot be read."""

    where: str
    losses: list[str]

    def plans(self) -> list[Plan]:
        """The plans of its sweeps."""

    def outcome(self, cell_id: str) -> Outcome | None:
        """What is known of a cell; None where it was never begun."""

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        """The epoch and the value of the metric `name` by the number of steps done."""


def open_source(name: str | Path) -> Source:
    """The source that `--source` names.

    Raises:
        UserError: where there are no runs.
    """
    if is_server(str(name)):
        return ServerRuns(str(name))
    folder = Path(name)
    if not folder.is_dir():
        raise UserError(f"no runs at {str(name)!r}: no such folder; give {WANTED}")
    if is_ledger(folder):
        return Ledger(folder)
    if is_offline(folder):
        return OfflineRuns(folder)
    raise UserError(
        f"no runs at {str(name)!r}: it holds neither a ledger (*/cells.json) nor W&B offline runs (*.wandb); "
        "give the --out folder of a sweep or one of W&B runs"
    )


def collect(sources: Sources) -> Collection:
    """The collection of `sources`; a collection stays as it is. Warn of each file that cannot be read whole.

    Raises:
        UserError: where none is named, or one holds no runs.
    """
    if isinstance(sources, Collection):
        return sources
    names = [sources] if isinstance(sources, (str, Path)) else list(sources)
    if not names:
        raise UserError(f"no source is named; give {WANTED}")
    found = Collection(names)
    for loss in found.losses:
        warnings.warn(loss, stacklevel=3)
    return found


def load_runs(*sources: str | Path) -> pd.DataFrame:
    """Every run of every sweep in `sources`: a row per sweep, run and metric; `analysis` documents the columns.

    Args:
        sources: The `--out` folder of a sweep, a folder of W&B offline runs, or `wandb:ENTITY/PROJECT`. Runs that
            several sources hold are merged by their id.

    Raises:
        UserError: where a source holds no runs, or the runs belong to no sweep.
    """
    collection = collect(sources)
    frames: list[pd.DataFrame] = []
    axes: dict[str, None] = {}
    for sweep, frame in collection.variants(collection.sweeps()):
        axes |= dict.fromkeys(sweep.axes)
        # Another sweep may lack this axis, and int64 has no missing value.
        whole = {axis: "Int64" for axis in sweep.axes if frame[axis].dtype == "int64"}
        named = frame.astype(whole)
        named.insert(0, "sweep", sweep.name)
        named.insert(1, "recipe", sweep.recipe)
        frames.append(named)
    runs = pd.concat(frames, ignore_index=True)
    first = ["sweep", "recipe", "operator", "label", *axes]
    return runs[[*first, *(column for column in runs.columns if column not in first)]]


class Collection:
    """What several sources hold together."""

    def __init__(self, names: Sequence[str | Path]) -> None:
        self.sources = [open_source(name) for name in names]
        self._plans = merged([plan for source in self.sources for plan in source.plans()])

    @property
    def losses(self) -> list[str]:
        return [loss for source in self.sources for loss in source.losses]

    def sweeps(self) -> list[str]:
        """Their names.

        Raises:
            UserError: where the runs belong to none.
        """
        if not self._plans:
            places = ", ".join(repr(source.where) for source in self.sources)
            raise UserError(f"no sweep at {places}: its runs carry no plan of one; single runs make no table")
        return sorted({plan.name for plan in self._plans})

    def load(self, name: str) -> tuple[SweepLayout, pd.DataFrame]:
        """The sweep `name` and its frame.

        Raises:
            UserError: for an unknown sweep, several of one name that are not one, a plan that is none, or results
                that do not belong together.
        """
        known = self.sweeps()
        found = [plan for plan in self._plans if plan.name == name]
        if not found:
            places = ", ".join(repr(source.where) for source in self.sources)
            raise UserError(f"no sweep {name!r} at {places}{nearest(name, known)}; it has: {', '.join(known)}")
        if len(found) > 1:
            first, second = (plan.content if isinstance(plan.content, dict) else {} for plan in found[:2])
            different = [key for key in first | second if first.get(key) != second.get(key) and key != "cells"]
            raise UserError(
                f"the sweep {name!r} of {found[0].where!r} and that of {found[1].where!r} differ in "
                f"{', '.join(different)}; render them one by one"
            )
        return assemble(found[0], self.outcome)

    def variants(self, names: Sequence[str]) -> list[tuple[SweepLayout, pd.DataFrame]]:
        """Every sweep of one of these names with its frame, of whatever recipe."""
        return [assemble(plan, self.outcome) for name in names for plan in self._plans if plan.name == name]

    def outcome(self, cell_id: str) -> Outcome | None:
        """A record if any source has one, else an error, else what there is; of equals the first source's."""
        found = [outcome for source in self.sources if (outcome := source.outcome(cell_id)) is not None]
        return min(found, key=lambda outcome: (outcome.result is None, outcome.error is None), default=None)

    def configs(self, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """The recorded configuration of each group of `frame` that has a finished run."""
        done = frame[frame["state"] == "finished"].drop_duplicates("group_id")
        found = {}
        for group, cell in zip(done["group_id"], done["cell_id"], strict=True):
            outcome = self.outcome(cell)
            if outcome is not None and outcome.result is not None and isinstance(outcome.result["config"], dict):
                found[group] = outcome.result["config"]
        return found

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        """From the source that knows most of the metric `name` of a cell."""
        return max((source.curve(cell_id, name) for source in self.sources), key=len)

    def is_validated(self, sweep: SweepLayout, frame: pd.DataFrame) -> bool:
        """Whether `epochs` are measured on the validation draw, as they are where a test draw is kept for the end."""
        name = f"val_{sweep.metric}"
        return any(self.curve(cell, name) for cell in _finished(frame, name)["cell_id"])

    def epochs(self, sweep: SweepLayout, frame: pd.DataFrame) -> pd.DataFrame:
        """`operator`, the axes, `seed`, `epoch` and `value`: the sweep's metric after each epoch of the finished runs.

        All of one draw: a run whose validation is lost has none, as its test at the end is no part of such a curve.
        """
        name = f"val_{sweep.metric}" if self.is_validated(sweep, frame) else sweep.metric
        rows = []
        for run in _finished(frame, sweep.metric).to_dict("records"):
            shared = {key: run[key] for key in ("operator", *sweep.axes, "seed")}
            curve = self.curve(run["cell_id"], name)
            epochs = dict(curve[step] for step in sorted(curve))
            rows += [{**shared, "epoch": epoch, "value": value} for epoch, value in epochs.items()]
        return pd.DataFrame(rows, columns=["operator", *sweep.axes, "seed", "epoch", "value"])


def _finished(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    return frame[(frame["metric"] == metric) & (frame["state"] == "finished")]


Sources = Collection | str | Path | Iterable[str | Path]
"""What functions take as runs: one source, several, or a collection that is open already."""
