"""The plan of a sweep (what its `cells.json` holds), and how the plans of several sources become one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightning_xvol.errors import UserError
from lightning_xvol.ledger import checks
from lightning_xvol.ledger.record import further_cells

SCHEMA = 1
COSTS = {"params": "parameters", "macs": "MACs per image", "wall_seconds": "seconds a run"}
"""What a run costs: columns of the frame and their names in tables and figures."""
RESERVED = {
    "sweep", "recipe", "operator", "label", "seed", "cell_id", "group_id", "state", "metric", "last", "best",
    "best_epoch", "torch", "device", "commit", "error", *COSTS,
}  # fmt: skip
"""Columns of every frame; no axis can have such a name."""


def _axis_value(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for part in value:
            yield from _axis_value(part, path)
    elif value is not None and not isinstance(value, (str, bool)):
        yield from (checks.whole if isinstance(value, int) else checks.number())(value, path)


def _pairs(value: Any, path: str) -> Iterator[str]:
    """Texts by name, as a mapping or as a list of pairs, which keeps their order."""
    fit = checks.mapping_of(checks.text) if isinstance(value, dict) else checks.list_of(_pair)
    yield from fit(value, path)


def _pair(value: Any, path: str) -> Iterator[str]:
    yield from checks.list_of(checks.text)(value, path)
    if isinstance(value, list) and len(value) != 2:
        yield from checks.unfit(value, path, "a pair of texts")


_optional_text = checks.optional(checks.text)
_CELL = checks.fields(
    {
        "operator": checks.text, "label": checks.text, "axes": checks.mapping_of(_axis_value), "seed": checks.whole,
        "cell_id": checks.name, "group_id": checks.text,
    }
)  # fmt: skip
_PLAN = checks.fields(
    {
        **dict.fromkeys(("sweep", "title", "recipe", "data", "budget", "metric", "metric_label", "note"), checks.text),
        "axes": checks.list_of(checks.text),
        "axis_labels": checks.mapping_of(checks.text),
        "baseline": _optional_text,
        "controls": checks.mapping_of(checks.list_of(checks.text)),
        "beside": _pairs,
        "below": checks.list_of(checks.one_of(*COSTS, "added_params")),
        "paper": checks.mapping_of(_axis_value),
        "smoke": checks.flag,
        "reproduces": checks.optional(checks.list_of(checks.text, 2)),
        "figure": checks.optional(checks.fields(others={"kind": _optional_text, "x": _optional_text})),
        "cells": checks.list_of(_CELL),
    },
    {"settings": checks.optional(checks.list_of(checks.text))},
)


def _fault(content: Any, where: str) -> str:
    """Why the content of the file `where` is no plan, as a sentence; empty where it is one."""
    if not isinstance(content, dict):
        return f"cannot read {where!r} as JSON; run the sweep's command again, finished cells are kept"
    if content.get("schema") != SCHEMA:
        return f"{where!r} has schema {checks.shown(content.get('schema'))}, this version reads {SCHEMA}"
    unfit = checks.problems(content, checks.plain, _PLAN)
    if unfit:
        return f"{where!r} has missing or unfit values: {unfit}; run the sweep's command again"
    axes = content["axes"]
    lacking = [axis for axis in axes if any(axis not in cell["axes"] for cell in content["cells"])]
    if lacking:
        named = ", ".join(f"cells.axes.{axis}" for axis in lacking)
        return f"{where!r} has missing or unfit values: {named} (missing); run the sweep's command again"
    if not content["cells"]:
        return f"{where!r} lists no cells; run the sweep's command again"
    clash = sorted(RESERVED.intersection(axes))
    if clash:
        return f"{where!r} has an axis {clash[0]!r}, which is a column of every table; rename the axis"
    if len(set(axes)) < len(axes):
        return f"{where!r} lists an axis twice ({', '.join(axes)}); rename one"
    return ""


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
        """The plan in `content`, the parsed JSON of the file or run `where`. This is the one place that checks it."""
        fault = _fault(content, where)
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
    cells = {json.dumps(cell, sort_keys=True): cell for plan in plans for cell in plan.content["cells"]}
    return replace(first, content={**first.content, "cells": list(cells.values())}, parts=tuple(plans))


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
