"""Several sources as one, merged by the ids of their cells: ledgers, archives, folders of W&B runs, W&B servers."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from analysis.sources import contradictions
from analysis.sources.archive import Archive, is_archive
from analysis.sources.data import check_same, with_true_name
from analysis.sources.frame import Outcome, SweepLayout, assemble
from analysis.sources.ledger import Ledger, is_ledger
from analysis.sources.offline import OfflineRuns, is_offline
from analysis.sources.plans import SweepPlan, merged
from analysis.sources.predictions import Predictions
from analysis.sources.server import ServerRuns, is_server
from lightning_xvol.config.metrics import validation_name
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger import tracked
from lightning_xvol.ledger.record import optimisation_of

WANTED = "the --out folder of a sweep, an archive (.jsonl.gz), a folder of W&B runs, or wandb:ENTITY/PROJECT"
"""What a user may name as a source."""


class Source(Protocol):
    """A place that holds runs.

    Attributes:
        where: The name by which messages call it.
        losses: A sentence for each file or run that cannot be read whole.
    """

    where: str
    losses: list[str]

    def plans(self) -> list[SweepPlan]:
        """The plans of its sweeps."""

    def outcome(self, cell_id: str) -> Outcome | None:
        """The outcome of a cell; None where the source does not know the cell."""

    def cells(self) -> list[str]:
        """The ids of the cells that it holds, also of those that no plan lists any more."""

    def predictions(self, cell_id: str) -> Predictions | None:
        """The predictions of a finished cell; None where the source holds none."""

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        """The number of steps done to the epoch and the value of the metric `name`."""


def open_source(name: str | Path) -> Source:
    """Open the source that `--source` names.

    Raises:
        UserError: where it holds no runs.
    """
    if is_server(str(name)):
        return ServerRuns(str(name))
    folder = Path(name)
    if is_archive(name) and folder.is_file():
        return Archive(folder)
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
    """Open `sources` and warn of each file that cannot be read whole; a collection is open already.

    Raises:
        UserError: where no source is named, or one holds no runs.
    """
    if isinstance(sources, Collection):
        return sources
    if isinstance(sources, (str, Path)) or not isinstance(sources, Iterable):
        sources = [sources]
    names = list(sources)
    if not names:
        raise UserError(f"no source is named; give {WANTED}")
    for name in names:
        if not isinstance(name, (str, Path)):
            raise UserError(f"{name!r} is not a source; give {WANTED}")
    found = Collection(names)
    for loss in found.losses:
        warnings.warn(loss, stacklevel=3)
    return found


def load_runs(*sources: str | Path) -> pd.DataFrame:
    """Every run of every sweep in `sources`: a row per sweep, run and metric; `analysis` documents the columns.

    Args:
        sources: The `--out` folder of a sweep, an archive, a folder of W&B offline runs, or `wandb:ENTITY/PROJECT`.
            Runs that several sources hold are merged by their id.

    Raises:
        UserError: where a source holds no runs, or the runs belong to no sweep.
    """
    collection = collect(sources[0] if len(sources) == 1 else sources)
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
    left_out = collection.left_out()
    if not frames:
        raise left_out[0]
    for error in left_out:
        warnings.warn(f"left out: {error}", stacklevel=2)
    runs = pd.concat(frames, ignore_index=True)
    first = ["sweep", "recipe", "operator", "label", *axes]
    return runs[[*first, *(column for column in runs.columns if column not in first)]]


class Collection:
    """The runs and the plans of several sources together.

    Raises:
        UserError: where a source holds no runs, or no plan can be read.
    """

    def __init__(self, names: Sequence[str | Path]) -> None:
        self.sources = [open_source(name) for name in names]
        plans = [plan for source in self.sources for plan in source.plans()]
        self._plans = merged([plan for plan in plans if not plan.fault])
        self._unfit = [plan for plan in plans if plan.fault]
        if self._unfit and not self._plans:
            raise UserError(self._unfit[0].fault)
        self._known: dict[str, tuple[SweepLayout, pd.DataFrame] | UserError] = {}

    @property
    def losses(self) -> list[str]:
        """A sentence for all that is lost: what cannot be read whole, and records that contradict an earlier one."""
        return [loss for source in self.sources for loss in source.losses] + self._contradictions

    @functools.cached_property
    def _contradictions(self) -> list[str]:
        return contradictions.between(self.sources)

    def plans(self) -> list[SweepPlan]:
        """The plan of every sweep, one per recipe and budget, whether or not its results belong together."""
        return list(self._plans)

    def whole_plans(self) -> list[SweepPlan]:
        """The plan of every sweep that can be read, one per recipe and budget."""
        return [plan for plan in self._plans if not isinstance(self._assembled(plan), UserError)]

    def sweeps(self) -> list[str]:
        """The names of the sweeps.

        Raises:
            UserError: where no run belongs to a sweep.
        """
        if not self._plans:
            raise UserError(f"no sweep at {self.where}: its runs belong to no sweep, and single runs make no table")
        return sorted({plan.name for plan in self._plans})

    def load(self, name: str) -> tuple[SweepLayout, pd.DataFrame]:
        """The sweep `name` and its frame.

        Raises:
            UserError: for an unknown sweep, different sweeps of the same name, a damaged plan, or results that do not
                belong together.
        """
        known = self.sweeps()
        found = [plan for plan in self._plans if plan.name == name]
        for plan in self._unfit if not found else ():
            if plan.name == name:
                raise UserError(plan.fault)
        if not found:
            raise UserError(f"no sweep {name!r} at {self.where}{nearest(name, known)}; known: {', '.join(known)}")
        if len(found) > 1:
            first, second = (plan.content for plan in found[:2])
            different = [key for key in {**first, **second} if first.get(key) != second.get(key) and key != "cells"]
            both = ", or compare them (`python -m analysis compare`)" if "settings" in different else ""
            raise UserError(
                f"the sweep {name!r} of {found[0].where!r} and that of {found[1].where!r} differ in "
                f"{', '.join(different)}; render them one by one{both}"
            )
        assembled = self._assembled(found[0])
        if isinstance(assembled, UserError):
            raise assembled
        return assembled

    def plans_of(self, name: str) -> list[SweepPlan]:
        """The plans of the sweep `name`: one per recipe, budget and `--set`.

        Raises:
            UserError: for an unknown sweep, or a damaged plan.
        """
        found = [plan for plan in self._plans if plan.name == name]
        if not found:
            self.load(name)  # its error names the sweeps that there are
        return found

    def variants(self, names: Sequence[str]) -> list[tuple[SweepLayout, pd.DataFrame]]:
        """Every sweep of one of these names that can be read, with its frame: one per recipe and budget."""
        plans = [plan for name in names for plan in self._plans if plan.name == name]
        return [found for plan in plans if not isinstance(found := self._assembled(plan), UserError)]

    def left_out(self, names: Sequence[str] | None = None, recipe: str | None = None) -> list[UserError]:
        """The reason for each sweep that `variants` and `whole_plans` leave out.

        Args:
            names: The names of the sweeps; None for all of them.
            recipe: The recipe of the sweeps; None for any. A plan that cannot be read may be of any recipe.
        """
        plans = [plan for plan in (*self._unfit, *self._plans) if names is None or plan.name in names]
        plans = [plan for plan in plans if recipe is None or plan.content.get("recipe", recipe) == recipe]
        found = [UserError(plan.fault) if plan.fault else self._assembled(plan) for plan in plans]
        return [error for error in found if isinstance(error, UserError)]

    def unfit(self) -> list[str]:
        """A sentence for each plan that cannot be read."""
        return [plan.fault for plan in self._unfit]

    def _assembled(self, plan: SweepPlan) -> tuple[SweepLayout, pd.DataFrame] | UserError:
        """The sweep of `plan` and a frame of its own, or the reason why there is none. Runs are read once."""
        if plan.identity not in self._known:
            try:
                self._known[plan.identity] = self.assemble(plan)
            except UserError as error:
                self._known[plan.identity] = error
        found = self._known[plan.identity]
        return found if isinstance(found, UserError) else (found[0], found[1].copy())

    def assemble(self, plan: SweepPlan) -> tuple[SweepLayout, pd.DataFrame]:
        """The sweep of `plan` and its frame.

        Raises:
            UserError: for a plan that contradicts itself, or results that do not belong together.
        """
        results: list[Mapping[str, Any]] = []

        def outcome(cell_id: str) -> Outcome | None:
            found = self.outcome(cell_id)
            if found is not None and found.result is not None:
                results.append(found.result)
            return found

        sweep, frame = assemble(plan, outcome)
        check_same(f"sweep {sweep.name!r}", results)
        return with_true_name(sweep, results), frame

    @property
    def where(self) -> str:
        """The names of the sources in messages."""
        return ", ".join(repr(source.where) for source in self.sources)

    def cells(self) -> list[str]:
        """The ids of the cells that the sources hold, also of those that no plan lists."""
        return list(dict.fromkeys(cell for source in self.sources for cell in source.cells()))

    def outcome(self, cell_id: str) -> Outcome | None:
        """The outcome with a record, else the one with an error, else any; of equal ones, that of the first source."""
        found = [outcome for source in self.sources if (outcome := source.outcome(cell_id)) is not None]
        return min(found, key=lambda outcome: (outcome.result is None, outcome.error is None), default=None)

    def results(self, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """A record of each group of `frame` that has a finished run, with what its detector's origin optimised."""
        done = frame[frame["state"] == "finished"].drop_duplicates("group_id")
        found = {}
        for group, cell in zip(done["group_id"], done["cell_id"], strict=True):
            result = self._result(cell)
            if result is not None:
                found[group] = {**result, "config": self._with_origin(result["config"])}
        return found

    def configs(self, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
        """The configuration in each of `results`."""
        return {group: result["config"] for group, result in self.results(frame).items()}

    def _result(self, cell_id: str) -> dict[str, Any] | None:
        outcome = self.outcome(cell_id)
        if outcome is None or outcome.result is None or not isinstance(outcome.result["config"], dict):
            return None
        return dict(outcome.result)

    def _with_origin(self, config: dict[str, Any]) -> dict[str, Any]:
        """Older records name only the group that a detector starts from; the sources may hold its runs."""
        detector = config.get("detector")
        if not isinstance(detector, dict) or detector.get("origin_optimisation") or not detector.get("origin"):
            return config
        return {**config, "detector": {**detector, "origin_optimisation": self._optimisation(detector["origin"])}}

    def _optimisation(self, group: str) -> str | None:
        """What the runs of `group` optimise, where a source holds one of them."""
        for cell in self._cells_of.get(group, ()):
            result = self._result(cell)
            if result is not None:
                with contextlib.suppress(UserError):
                    return optimisation_of(result)
        return None

    def predictions(self, cell_id: str) -> Predictions | None:
        """The predictions of a finished cell, from the first source that holds them.

        Raises:
            UserError: where their file is damaged or belongs to another run.
        """
        return next((found for source in self.sources if (found := source.predictions(cell_id)) is not None), None)

    def group_names(self, group_id: str) -> list[str]:
        """The names of a group on W&B: one for each place that it has in the tables of the sweeps."""
        return self._names_of.get(group_id, [])

    @functools.cached_property
    def _names_of(self) -> dict[str, list[str]]:
        found: dict[str, dict[str, None]] = {}
        for content in (plan.content for plan in self._plans):
            for cell in content["cells"]:
                axes = {axis: cell["axes"][axis] for axis in content["axes"]}
                name = tracked.cell_name(cell["operator"], axes, content["axis_labels"])
                group = cell["group_id"]
                found.setdefault(group, {})[tracked.group_name(name, content["recipe"], group)] = None
        return {group: list(names) for group, names in found.items()}

    @functools.cached_property
    def _cells_of(self) -> dict[str, list[str]]:
        """The ids of the cells of each group."""
        found: dict[str, list[str]] = {}
        for plan in self._plans:
            for cell in plan.content["cells"]:
                found.setdefault(cell["group_id"], []).append(cell["cell_id"])
        return found

    def curve(self, cell_id: str, name: str) -> dict[int, tuple[int, float]]:
        """The longest curve that a source has of the metric `name` of a cell."""
        return max((source.curve(cell_id, name) for source in self.sources), key=len)

    def is_validated(self, sweep: SweepLayout, frame: pd.DataFrame) -> bool:
        """Whether `epochs` gives values of the validation split. It does if the data have a test split too."""
        name = validation_name(sweep.metric)
        return any(self.curve(cell, name) for cell in _finished(frame, name)["cell_id"])

    def epochs(self, sweep: SweepLayout, frame: pd.DataFrame) -> pd.DataFrame:
        """`operator`, the axes, `seed`, `epoch` and `value`: the sweep's metric after each epoch of the finished runs.

        All values are of one split. A run whose validation is lost has no curve: the test at the end is not part of it.
        """
        name = validation_name(sweep.metric) if self.is_validated(sweep, frame) else sweep.metric
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
"""What functions accept as runs: one source, several sources, or an open collection."""
