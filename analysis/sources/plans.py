"""The plan of a sweep (what its `cells.json` holds), and how the plans of several sources become one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning_xvol.errors import UserError
from lightning_xvol.ledger import plan as ledger_plan
from lightning_xvol.ledger.record import further_cells


@dataclass(frozen=True)
class SweepPlan:
    """The plan of a sweep: its description and its list of cells, as `cells.json` or a W&B run holds them.

    Attributes:
        name: The name of the sweep.
        content: The parsed JSON, which fits; empty where it does not.
        where: The file or run that holds it.
        parts: The plans that were merged into this one; empty for a plan from one place.
        fault: A sentence where it cannot be used; else empty.
    """

    name: str
    content: Mapping[str, Any]
    where: str
    parts: tuple[SweepPlan, ...] = ()
    fault: str = ""

    @classmethod
    def of(cls, name: str, content: Any, where: str) -> SweepPlan:
        """The plan in `content`, the parsed JSON of the file or run `where`. It is checked here, once."""
        fault = ledger_plan.fault(content, where)
        return cls(name, {}, where, fault=fault) if fault else cls(name, content, where)

    @property
    def identity(self) -> str:
        """A text that is equal for plans which differ in their cells alone."""
        content = {key: value for key, value in self.content.items() if key != "cells"}
        return json.dumps([self.name, content], sort_keys=True)


def merged(plans: Sequence[SweepPlan]) -> list[SweepPlan]:
    """Merge the plans that differ in their cells alone."""
    groups: dict[str, list[SweepPlan]] = {}
    for plan in plans:
        groups.setdefault(plan.identity, []).append(plan)
    return [_merged(group) for group in groups.values()]


def _merged(plans: Sequence[SweepPlan]) -> SweepPlan:
    first = plans[0]
    if len(plans) == 1:
        return first
    # An older version may have given a row another label; the first plan names it.
    cells: dict[str, Mapping[str, Any]] = {}
    for cell in (cell for plan in plans for cell in plan.content["cells"]):
        own = {key: value for key, value in cell.items() if key != "label"}
        cells.setdefault(json.dumps(own, sort_keys=True), cell)
    begun = {_place(cell) for cell in cells.values() if cell.get("begun", True)}
    # Runs on W&B do not name the cells that have no run among them; another source may have these runs.
    known = [cell for cell in cells.values() if cell.get("begun", True) or _place(cell) not in begun]
    return replace(first, content={**first.content, "cells": known}, parts=tuple(plans))


def _place(cell: Mapping[str, Any]) -> str:
    """The place of a cell in a table, with its configuration."""
    return json.dumps([cell["operator"], cell["axes"], cell["group_id"], cell["seed"]], sort_keys=True)


def widened(plan: SweepPlan, others: Sequence[SweepPlan], has_result: Callable[[str], bool]) -> SweepPlan:
    """`plan` with the finished cells that only `others` list. They are plans of the same sweep, recipe and budget."""
    if plan.fault:
        return plan
    cells = plan.content["cells"]
    for other in others:
        if other is not plan and not other.fault and other.identity == plan.identity:
            cells = [*cells, *further_cells(other.content["cells"], cells, has_result)]
    return replace(plan, content={**plan.content, "cells": cells})


def row_of(cell: Mapping[str, Any], axes: Sequence[str]) -> tuple[str, str]:
    """The row label of a cell and its values on the axes, as JSON; cells that differ in their seed are equal."""
    return cell["operator"], json.dumps({axis: cell["axes"][axis] for axis in axes}, sort_keys=True)


def two_configurations(plan: SweepPlan, row: tuple[str, str], groups: tuple[str, str]) -> UserError:
    """The error that `row` has two `groups`: in one file, or in two files that were merged."""
    name = f"row {row[0]!r} at {row[1]}"
    files: dict[str, list[str]] = {group: [] for group in groups}
    for part in plan.parts or (plan,):
        own = {cell["group_id"] for cell in part.content["cells"] if row_of(cell, part.content["axes"]) == row}
        if own.issuperset(groups):
            return UserError(f"{part.where!r} gives {name} two configurations; give each a row label of its own")
        for group in own.intersection(groups):
            files[group].append(part.where)
    first, second = (files[group][0] for group in groups)
    return UserError(
        f"the sweep {plan.name!r} of {first!r} and that of {second!r} differ in the configuration of {name}: groups "
        f"{groups[0]} and {groups[1]}; render them one by one"
    )
