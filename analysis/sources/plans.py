"""The plan of a sweep (what its `cells.json` holds), and how the plans of several sources become one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning_xvol.errors import UserError
from lightning_xvol.ledger.record import further_cells


@dataclass(frozen=True)
class SweepPlan:
    """The plan of a sweep: its description and its list of cells, as `cells.json` or a W&B run holds them.

    Attributes:
        name: The name of the sweep.
        content: The parsed JSON; None where the file is damaged.
        where: The file or run that holds it.
        parts: The plans that were merged into this one; empty for a plan from one place.
    """

    name: str
    content: Any
    where: str
    parts: tuple[SweepPlan, ...] = ()

    @property
    def identity(self) -> str:
        """A text that is equal for plans which differ in their cells alone."""
        content = self.content if isinstance(self.content, dict) else {}
        return json.dumps([self.name, {key: value for key, value in content.items() if key != "cells"}], sort_keys=True)


def merged(plans: Sequence[SweepPlan]) -> list[SweepPlan]:
    """Merge the plans that differ in their cells alone."""
    found: dict[str, SweepPlan] = {}
    for plan in plans:
        first = found.setdefault(plan.identity, plan)
        if first is not plan and isinstance(plan.content, dict):
            both = [*first.content.get("cells", ()), *plan.content.get("cells", ())]
            cells = {json.dumps(cell, sort_keys=True): cell for cell in both}
            content = {**first.content, "cells": list(cells.values())}
            found[plan.identity] = replace(first, content=content, parts=(*(first.parts or (first,)), plan))
    return list(found.values())


def widened(plan: SweepPlan, others: Sequence[SweepPlan], has_result: Callable[[str], bool]) -> SweepPlan:
    """`plan` with the finished cells that only `others` list. They are plans of the same sweep, recipe and budget."""
    if not isinstance(plan.content, dict):
        return plan
    cells = plan.content.get("cells", ())
    for other in others:
        if other is not plan and other.identity == plan.identity:
            cells = [*cells, *further_cells(other.content.get("cells", ()), cells, has_result)]
    return replace(plan, content={**plan.content, "cells": cells})


def row_of(cell: Mapping[str, Any]) -> tuple[str, str]:
    """The row label of a cell and its values on the axes, as JSON; cells that differ in their seed are equal."""
    return cell["operator"], json.dumps(cell["axes"], sort_keys=True)


def two_configurations(plan: SweepPlan, row: tuple[str, str], groups: tuple[str, str]) -> UserError:
    """The error that `row` has two `groups`: in one file, or in two files that were merged."""
    name = f"row {row[0]!r} at {row[1]}"
    files: dict[str, list[str]] = {group: [] for group in groups}
    for part in plan.parts or (plan,):
        own = {cell["group_id"] for cell in part.content.get("cells", ()) if row_of(cell) == row}
        if own.issuperset(groups):
            return UserError(f"{part.where!r} gives {name} two configurations; give each a row label of its own")
        for group in own.intersection(groups):
            files[group].append(part.where)
    first, second = (files[group][0] for group in groups)
    return UserError(
        f"the sweep {plan.name!r} of {first!r} and that of {second!r} differ in the configuration of {name}: groups "
        f"{groups[0]} and {groups[1]}; render them one by one"
    )
