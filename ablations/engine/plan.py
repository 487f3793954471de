"""The plan of a sweep, `OUT/<sweep>/cells.json`: the run of each position in its table. Nothing here imports torch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations.engine.cell import has_result
from ablations.engine.options import Options
from ablations.engine.sweep import Cell, Sweep
from lightning_xvol.config import registry
from lightning_xvol.config.metrics import METRICS, Metric
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.resolved import SCHEMA
from lightning_xvol.config.schema import to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import contents, files
from lightning_xvol.ledger.plan import fault as plan_fault
from lightning_xvol.ledger.record import cell_folder, further_cells, newer_schema, read_result

_EXPERIMENT = ("sweep", "recipe", "budget", "smoke", "settings")
"""What two plans of one experiment have in common, beside the axes."""


def write_plan(sweep: Sweep, recipe: Recipe, cells: Sequence[Cell], options: Options) -> None:
    """Write `cells.json`, and say so where it replaces the plan of another experiment.

    The file decides the layout of the table, and every tracked run carries a copy of it. A later command with fewer
    seeds or rows keeps the finished cells of the same experiment in it, so that no table shrinks.
    """
    settings = ["=".join(pair) for pair in options.changes() if pair[0] != "operator.name"]
    plan = describe_cells(sweep, recipe, [*cells, *_further_seeds(cells, options.folder)], options.smoke, settings)
    folder = files.make_folder(options.folder / sweep.name)
    before = _earlier(folder / "cells.json")
    plan["cells"] += _kept(before, plan, options.folder)
    if before is not None and replaces(before, plan):
        print(
            f"note: {folder} was {_described(before)} and becomes {_described(plan)}; its table and figure are "
            "replaced, its runs stay (another --out keeps both)",
            flush=True,
        )
    files.write_json(folder / "cells.json", plan)


def _further_seeds(cells: Sequence[Cell], out: Path) -> list[Cell]:
    """The finished cells of the seeds that follow those of `cells`, up to the first seed that none has."""
    first = {cell.group: cell for cell in cells}
    found: list[Cell] = []
    for seed in itertools.count(max(cell.config.seed for cell in cells) + 1):
        others = [replace(cell, config=replace(cell.config, seed=seed)) for cell in first.values()]
        done = {cell.group for cell in others if has_result(cell, out)}
        if not done:
            return found
        # A group that two positions share is in the table at both.
        places = [cell for cell in cells if cell.group in done and cell.config.seed == cells[0].config.seed]
        found += [replace(cell, config=replace(cell.config, seed=seed)) for cell in places]
    raise AssertionError  # never reached


def _earlier(path: Path) -> dict[str, Any] | None:
    """The plan that `path` holds; None where it holds none, or one that is damaged.

    Raises:
        UserError: for the plan of a newer version, which must not be replaced.
    """
    content = files.read_json(path)
    if not isinstance(content, dict):
        return None
    newer = newer_schema(content)
    if newer:
        raise UserError(f"{str(path)!r} {newer}")
    return None if plan_fault(content, str(path)) else content


def _kept(before: Mapping[str, Any] | None, plan: Mapping[str, Any], out: Path) -> list[Mapping[str, Any]]:
    """The finished cells of the plan `before` that belong to the same experiment and are not in `plan`."""
    if before is None:
        return []
    same = all(before.get(key) == plan.get(key) for key in _EXPERIMENT)
    rows = {cell["operator"] for cell in plan["cells"]}
    earlier = [cell for cell in before["cells"] if same or cell["operator"] in rows]
    return further_cells(earlier, plan["cells"], lambda cell: read_result(cell_folder(out, cell)) is not None)


def replaces(before: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    """Whether a position of the plan `before` has another run in `plan`."""
    runs = {_position(cell): cell["cell_id"] for cell in before["cells"]}
    return any(runs.get(_position(cell), cell["cell_id"]) != cell["cell_id"] for cell in plan["cells"])


def _position(cell: Mapping[str, Any]) -> str:
    """The position of a cell in a table, as a key."""
    return json.dumps([cell["operator"], cell["axes"], cell["seed"]], sort_keys=True)


def _described(plan: Mapping[str, Any]) -> str:
    budget = "a smoke run" if plan.get("smoke") else plan.get("budget")
    settings = plan.get("settings")
    return ", ".join(map(str, [plan.get("recipe"), budget, *(settings if isinstance(settings, list) else ())]))


def describe_cells(
    sweep: Sweep, recipe: Recipe, cells: Sequence[Cell], smoke: bool, settings: Sequence[str] = ()
) -> dict[str, Any]:
    """The content of `cells.json`: what analysis needs for the table and the figure of the sweep.

    `settings` are the changes of `--set` as texts, without the operators that it adds.
    """
    reproduces = None if smoke or recipe.reproduces is None else list(recipe.reproduces)
    metric = metric_of(sweep, recipe, cells)
    return {
        "schema": SCHEMA,
        "sweep": sweep.name,
        "title": sweep.title,
        "recipe": recipe.name,
        "data": contents.label(to_dict(cells[0].config)["data"], None),
        "budget": _budget(cells),
        "metric": metric.name,
        "metric_label": metric.label,
        "beside": list(metric.secondary_metrics.items()),  # a list keeps their order, sorted keys would not
        "axes": list(sweep.axes),
        "axis_labels": dict(sweep.axis_labels),
        "baseline": sweep.baseline,
        "controls": {row: list(controls) for row, controls in sweep.controls.items()},
        "paper": dict(sweep.paper),
        "note": sweep.note,
        "smoke": smoke,
        **({"settings": list(settings)} if settings else {}),
        "reproduces": reproduces,
        "below": list(sweep.cost_rows),
        "figure": {"kind": sweep.figure, "x": sweep.figure_x},
        "cells": [
            {
                "operator": cell.row,
                "label": sweep.rows.get(cell.row) or registry.label("operator", cell.config.operator.name),
                "axes": dict(cell.axes),
                "seed": cell.config.seed,
                "cell_id": cell.id,
                "group_id": cell.group,
            }
            for cell in cells
        ],
    }


def metric_of(sweep: Sweep, recipe: Recipe, cells: Sequence[Cell]) -> Metric:
    """The metric that the table of `sweep` shows."""
    metric, data = METRICS[recipe.task], cells[0].config.data
    has_test = registry.has_test_split(data.name, data.options)
    return metric.on_validation() if sweep.on_validation and has_test else metric


def _budget(cells: Sequence[Cell]) -> str:
    """The budget of the cells, for example `3 epochs`; for a sweep over budgets `1, 2, 3, 6 epochs`."""
    budgets = dict.fromkeys(
        (cell.config.train.steps, "step") if cell.config.train.steps else (cell.config.train.epochs, "epoch")
        for cell in cells
    )
    units = dict.fromkeys(unit for _, unit in budgets)
    texts = []
    for unit in units:
        amounts = [amount for amount, of in budgets if of == unit]
        texts.append(f"{', '.join(map(str, amounts))} {unit}{'s' * (amounts != [1])}")
    return " / ".join(texts)
