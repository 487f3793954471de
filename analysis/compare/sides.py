"""The sides of a comparison: one sweep with the runs of one setting, from a source of its own or by `--set`."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.compare.settings import (
    Group,
    canonical_path,
    config_of,
    described,
    differing,
    has,
    text_of,
    with_settings,
)  # fmt: skip
from analysis.sources.chosen_metrics import with_metrics
from analysis.sources.collection import Collection
from analysis.sources.frame import SweepLayout
from analysis.sources.plans import SweepPlan
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import Resolved, optimisation
from lightning_xvol.config.schema import leaves, nested
from lightning_xvol.config.smoke import smoke
from lightning_xvol.errors import UserError

Place = tuple[str, str]
"""A row of a sweep: its operator, and its values on the axes as JSON."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        where: Its name in messages and footnotes: the name of its source, or its `--set`.
        sources: The sources of its runs.
        layout: The layout of the sweep.
        frame: A row per run and metric.
    """

    where: str
    sources: Collection
    layout: SweepLayout
    frame: pd.DataFrame

    def with_metrics(self, names: Sequence[str]) -> Side:
        """This side with the metrics `names` instead of its own (`--metric`). Without `names`, it stays as it is.

        Raises:
            UserError: for a metric that no run has.
        """
        layout, frame = with_metrics(self.layout, self.frame, names)
        return replace(self, layout=layout, frame=frame)

    @cached_property
    def records(self) -> dict[str, dict[str, Any]]:
        """A record of each group that has a finished run."""
        return self.sources.results(self.frame)

    @cached_property
    def configs(self) -> dict[str, Resolved]:
        """The configuration of each group that has a finished run.

        Raises:
            UserError: where one cannot be read.
        """
        found = {}
        for group, result in self.records.items():
            try:
                found[group] = config_of(result)
            except UserError as error:
                raise UserError(f"{self.where}: the settings of group {group} cannot be read: {error}") from error
        return found


def sides_of_sources(sources: Sequence[Collection], sweep: str) -> list[Side]:
    """A side for each of `sources`.

    Raises:
        UserError: where one of them does not hold the sweep, or holds it more than once.
    """
    return [Side(source.where, source, *source.load(sweep)) for source in sources]


def sides_of_settings(sources: Collection, sweep: str, groups: Sequence[Group]) -> list[Side]:
    """A side for each of `groups`. It has runs of the last command and of earlier ones.

    Raises:
        UserError: for the seed or the operator, for a field that no run has, a group without a finished run, or a row
            with two configurations.
    """
    for path in (path for group in groups for path, _ in group):
        if path in ("seed", "operator.name"):
            raise UserError(f"--set {path} cannot be compared: `python -m analysis tables` shows rows and seeds")
    runs = _Runs(sources, _plan(sources, sweep), groups)
    return [
        Side(described(group), sources, *sources.assemble(replace(runs.plan, content=runs.content(group))))
        for group in groups
    ]


def _plan(sources: Collection, name: str) -> SweepPlan:
    """The plan of the sweep `name`. It joins plans that differ only in their settings and in what follows from these.

    Raises:
        UserError: for an unknown sweep, a damaged plan, or plans that differ in anything else.
    """
    plans = sources.plans_of(name)
    first = plans[0]
    follows = ("cells", "settings", "budget", "data")
    for other in plans[1:]:
        keys = sorted({*first.content, *other.content}.difference(follows))
        different = [key for key in keys if first.content.get(key) != other.content.get(key)]
        if different:
            raise UserError(
                f"the sweep {name!r} of {first.where!r} and that of {other.where!r} differ in {', '.join(different)}; "
                "compare them one by one"
            )
    return replace(
        first, content={**first.content, "cells": [cell for plan in plans for cell in plan.content["cells"]]}
    )


@functools.lru_cache(maxsize=1)  # the command asks once for each sweep
def _recorded(sources: Collection) -> tuple[dict[str, Resolved], dict[str, dict[int, str]]]:
    """The configuration of each group that has a record, and its seeds with the ids of their cells."""
    configs: dict[str, Resolved] = {}
    cells: dict[str, dict[int, str]] = {}
    for cell in sources.cells():
        outcome = sources.outcome(cell)
        result = None if outcome is None else outcome.result
        if result is None or result["cell_id"] != cell or not isinstance(result["config"], dict):
            continue
        group, seed = result["group_id"], result["seed"]
        if group is None or seed is None:
            continue
        if group not in configs:
            with contextlib.suppress(UserError):  # the configuration of another version
                configs[group] = config_of(result)
        cells.setdefault(group, {})[seed] = cell
    return configs, cells


class _Runs:
    """The recorded runs of a sweep, with their place in its table.

    A plan lists the cells of one setting. A run of another setting takes the place of a planned run. The two differ
    only in the fields of `--set`, and perhaps in how they were computed.

    Attributes:
        plan: The plan of the sweep.
        configs: The configuration of each group that has a record.
        cells: For each of these groups, its seeds with the ids of their cells.
    """

    def __init__(self, sources: Collection, plan: SweepPlan, groups: Sequence[Group]) -> None:
        self.plan = plan
        self.paths = list(dict.fromkeys(path for group in groups for path, _ in group))
        self.configs, self.cells = _recorded(sources)
        self.planned: dict[str, dict[Place, Mapping[str, Any]]] = {}
        for cell in plan.content["cells"]:
            self.planned.setdefault(cell["group_id"], {}).setdefault(_place(cell), cell)
        self._alike: dict[str, dict[Place, Mapping[str, Any]]] = {}
        for group, config in self.configs.items():
            if group in self.planned:
                self._alike.setdefault(self._key(config), {}).update(self.planned[group])
        # If a planned group has no record, only the ids in the plan can tell the place of a run.
        self._by_id = not self.planned.keys() <= self.configs.keys()
        self.places = {group: found for group in self.configs if (found := self._places(group))}

    def _places(self, group: str) -> Mapping[Place, Mapping[str, Any]]:
        """The cells of the plan whose row is that of `group`, by their place."""
        config = self.configs[group]
        known = self.planned.get(group) or self._alike.get(self._key(config))
        if known or not self._by_id:
            return known or {}
        with contextlib.suppress(UserError, KeyError):  # the row may not have these fields
            return self.planned.get(self._as_planned(config), {})
        return {}

    def _key(self, config: Resolved) -> str:
        """A text that is equal for configurations that differ only in the fields of `--set` or in how they compute."""
        fields = {canonical_path(path) for path in self.paths}
        sections = tuple(f"{field.removesuffix('name')}options." for field in fields if field.endswith(".name"))
        kept = {
            path: value
            for path, value in leaves(optimisation(config))
            if path not in fields and not (sections and path.startswith(sections))
        }
        return json.dumps(kept, sort_keys=True)

    def _as_planned(self, config: Resolved) -> str:
        """The group of `config` with the values that the plan gives to the fields of `--set`."""
        base = get_recipe(self.plan.content["recipe"]).config(config.operator.name)
        settings = [text.partition("=")[::2] for text in self.plan.content.get("settings") or ()]
        if self.plan.content["smoke"]:
            base = smoke(base, [path for path, _ in settings])
        values = dict(leaves(nested(with_settings(base, settings))))
        return with_settings(config, [(path, values[canonical_path(path)]) for path in self.paths]).group_id

    def content(self, group: Group) -> dict[str, Any]:
        """The content of a plan with the runs of `group` alone.

        Raises:
            UserError: where no run has these settings, or a row has two configurations.
        """
        chosen: dict[Place, str] = {}
        cells: list[dict[str, Any]] = []
        for name in self._with(group):
            for place, cell in self.places[name].items():
                if place in chosen:
                    self._refuse_two(group, cell, chosen[place], name)
                chosen[place] = name
                own = self.cells[name].items()
                cells += [{**cell, "seed": seed, "cell_id": run, "group_id": name} for seed, run in sorted(own)]
        order = {_place(cell): number for number, cell in enumerate(self.plan.content["cells"])}
        cells.sort(key=lambda cell: (order[_place(cell)], cell["seed"]))
        settings = ["=".join(pair) for pair in group]
        return {**self.plan.content, "cells": cells, "settings": settings, "budget": self._budget(chosen.values())}

    def _budget(self, groups: Iterable[str]) -> str:
        """The budget of `groups`, or that of the plan if `--set` does not name it."""
        if not {"train.epochs", "train.steps"}.intersection(self.paths):
            return str(self.plan.content["budget"])
        trained = [self.configs[name].train for name in groups]
        texts = {f"{train.steps} steps" if train.steps else f"{train.epochs} epochs": None for train in trained}
        return ", ".join(texts)

    def _with(self, group: Group) -> list[str]:
        """The groups of runs that have the settings of `group`; a group of the plan comes first."""
        found, mistakes = [], []
        for name in sorted(self.places, key=lambda name: name not in self.planned):
            try:
                if has(self.configs[name], group):
                    found.append(name)
            except UserError as error:
                mistakes.append(error)
        if not found and mistakes and len(mistakes) == len(self.places):
            raise mistakes[0]
        if not found:
            raise UserError(f"no finished run of the sweep {self.plan.name!r} has {described(group)}; {self._there()}")
        return found

    def _there(self) -> str:
        """The values of the fields of `--set` that the runs have."""
        values: dict[str, dict[str, None]] = {path: {} for path in self.paths}
        for name in self.places:
            own = dict(leaves(nested(self.configs[name])))
            for path in self.paths:
                if canonical_path(path) in own:
                    values[path][text_of(own[canonical_path(path)])] = None
        known = [f"{path} = {', '.join(sorted(found))}" for path, found in values.items() if found]
        return f"its runs have {'; '.join(known)}" if known else "it has no finished run with a place in its table"

    def _refuse_two(self, group: Group, cell: Mapping[str, Any], first: str, second: str) -> None:
        """Raise an error for two configurations of one row. It names the field that tells them apart."""
        differences = differing([self.configs[first], self.configs[second]])
        path, values = next(iter(differences.items()), ("", ()))
        hint = f"; add one to it: {path}={values[0]} or {path}={values[1]}" if path else ""
        raise UserError(
            f"row {cell['operator']!r} at {_place(cell)[1]} has two configurations with {described(group)}{hint}"
        )


def _place(cell: Mapping[str, Any]) -> Place:
    return cell["operator"], json.dumps(cell["axes"], sort_keys=True)
