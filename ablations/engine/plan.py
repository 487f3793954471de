"""The plan of a sweep, `OUT/<sweep>/cells.json`: the run of each position in its table. Nothing here imports torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ablations.engine.options import Options
from ablations.engine.sweep import Cell, Sweep
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.resolved import SCHEMA
from lightning_xvol.ledger import files


def write_plan(sweep: Sweep, recipe: Recipe, cells: Sequence[Cell], options: Options) -> None:
    """Write `cells.json`, and say so where it replaces the plan of another experiment.

    The file decides the layout of the table, and every tracked run carries a copy of it.
    """
    settings = ["=".join(pair) for pair in options.changes() if pair[0] != "operator.name"]
    plan = describe_cells(sweep, recipe, cells, options.smoke, settings)
    folder = files.make_folder(options.folder / sweep.name)
    before = files.read_json(folder / "cells.json")
    if isinstance(before, dict) and replaces(before, plan):
        print(
            f"note: {folder} was {_described(before)} and becomes {_described(plan)}; its table and figure are "
            "replaced, its runs stay (another --out keeps both)",
            flush=True,
        )
    files.write_json(folder / "cells.json", plan)


def replaces(before: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    """Whether a position of `before`, the content of a `cells.json`, has another run in `plan`."""
    try:
        runs = {_position(cell): cell["cell_id"] for cell in before["cells"]}
    except (KeyError, TypeError):  # of another version, or damaged
        return False
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
    metric = registry.METRICS[recipe.task]
    return {
        "schema": SCHEMA,
        "sweep": sweep.name,
        "title": sweep.title,
        "recipe": recipe.name,
        "data": registry.label("data", cells[0].config.data.name),
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
