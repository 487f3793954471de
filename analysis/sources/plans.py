"""The plan of a sweep (what its `cells.json` holds), and how the plans of several sources become one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning_xvol.errors import UserError
from lightning_xvol.ledger import checks, packed
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
        fault = ledger_plan.fault(content, where) or "; ".join(checks.line(name, f"{where!r} has an unfit name: sweep"))
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


def agreed(plans: Sequence[SweepPlan]) -> list[SweepPlan]:
    """The plans of one sweep, where each takes the ids of groups that it does not know whole from the others.

    The plan of W&B runs may hold some digits alone of an id (`lightning_xvol.ledger.packed`).
    """
    cells = [cell for plan in plans for cell in plan.content["cells"]]
    if not any("partial_id" in cell for cell in cells):
        return list(plans)
    groups = _same_groups(cells)
    return [
        replace(plan, content={**plan.content, "cells": [_in_group(cell, groups) for cell in plan.content["cells"]]})
        for plan in plans
    ]


def _same_groups(cells: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Each group to its name, which is one for groups that are the same, and to the digits of its id.

    Two groups are the same if they share a place in the table, and the digits that both know are equal.
    """
    digits: dict[str, str] = {}
    same: dict[str, str] = {}  # a group to another name of it

    def last(group: str) -> str:
        while group in same:
            group = same[group]
        return group

    at: dict[str, dict[str, None]] = {}
    for cell in cells:
        digits.setdefault(cell["group_id"], cell.get("partial_id", cell["group_id"]))
        there, group = at.setdefault(_position(cell), {}), last(cell["group_id"])
        for other in dict.fromkeys(map(last, there)):
            if other != group and packed.agree(digits[other], digits[group]):
                group, other = (other, group) if digits[other] == other else (group, other)  # a whole id stays
                same[other], digits[group] = group, packed.joined(digits[group], digits[other])
        there[group] = None
    return {group: (last(group), digits[last(group)]) for group in digits}


def _in_group(cell: Mapping[str, Any], groups: Mapping[str, tuple[str, str]]) -> Mapping[str, Any]:
    if "partial_id" not in cell:
        return cell
    name, digits = groups[cell["group_id"]]
    group = name if "_" in digits else digits
    own = {key: value for key, value in cell.items() if key != "partial_id"}
    unknown = {} if group == digits else {"partial_id": digits}
    return {**own, **unknown, "group_id": group, "cell_id": packed.nobodys(group, cell["seed"])}


def _position(cell: Mapping[str, Any]) -> str:
    """The row and the column of a cell."""
    return json.dumps([cell["operator"], cell["axes"]], sort_keys=True)


def _merged(plans: Sequence[SweepPlan]) -> SweepPlan:
    first, *_ = plans = agreed(plans)
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
