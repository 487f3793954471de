"""What `cells.json` lays out, and how the plans of several sources are put together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning_xvol.errors import UserError


@dataclass(frozen=True)
class Plan:
    """What `cells.json` of the sweep `name` holds (None where it is torn), and where it was found.

    `parts` are the plans that were put together to make it.
    """

    name: str
    content: Any
    where: str
    parts: tuple[Plan, ...] = ()

    @property
    def identity(self) -> str:
        """Equal for plans that differ in nothing but their cells."""
        content = self.content if isinstance(self.content, dict) else {}
        return json.dumps([self.name, {key: value for key, value in content.items() if key != "cells"}], sort_keys=True)


def merged(plans: Sequence[Plan]) -> list[Plan]:
    """Plans that differ in nothing but their cells are put together."""
    found: dict[str, Plan] = {}
    for plan in plans:
        first = found.setdefault(plan.identity, plan)
        if first is not plan and isinstance(plan.content, dict):
            both = [*first.content.get("cells", ()), *plan.content.get("cells", ())]
            cells = {json.dumps(cell, sort_keys=True): cell for cell in both}
            content = {**first.content, "cells": list(cells.values())}
            found[plan.identity] = replace(first, content=content, parts=(*(first.parts or (first,)), plan))
    return list(found.values())


def row_of(cell: Mapping[str, Any]) -> tuple[str, str]:
    """Its row label and its place on the axes: a group, whatever the seed."""
    return cell["operator"], json.dumps(cell["axes"], sort_keys=True)


def two_configurations(plan: Plan, row: tuple[str, str], groups: tuple[str, str]) -> UserError:
    """One file gives `row` both `groups`, or two files that were put together give it one each."""
    name = f"row {row[0]!r} at {row[1]}"
    places: dict[str, list[str]] = {group: [] for group in groups}
    for part in plan.parts or (plan,):
        own = {cell["group_id"] for cell in part.content.get("cells", ()) if row_of(cell) == row}
        if own.issuperset(groups):
            return UserError(f"{part.where!r} gives {name} two configurations; give each its row label")
        for group in own.intersection(groups):
            places[group].append(part.where)
    first, second = (places[group][0] for group in groups)
    return UserError(
        f"the sweep {plan.name!r} of {first!r} and that of {second!r} differ in the configuration of {name}: groups "
        f"{groups[0]} and {groups[1]}; render them one by one"
    )
