"""The plan of a sweep, `OUT/<sweep>/cells.json`: which run stands where in its table. Nothing here imports torch."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.engine.sweep import Cell, Sweep
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.resolved import SCHEMA
from lightning_xvol.ledger import files


def write_plan(sweep: Sweep, recipe: Recipe, cells: Sequence[Cell], out: Path, flags: argparse.Namespace) -> None:
    """`cells.json`: what a table needs, and what every tracked run carries. Says so where it replaces another one."""
    settings = ["=".join(pair) for pair in flags.settings if pair[0] != "operator.name"]
    if flags.gpus_per_cell is not None:
        settings.append(f"train.devices={flags.gpus_per_cell}")
    plan = describe_cells(sweep, recipe, cells, flags.smoke, settings)
    folder = files.make_folder(out / sweep.name)
    before = files.read_json(folder / "cells.json")
    if isinstance(before, dict) and replaces(before, plan):
        print(
            f"note: {folder} was {_described(before)} and becomes {_described(plan)}; its table and figure are "
            "replaced, its runs stay (another --out keeps both)",
            flush=True,
        )
    files.write_json(folder / "cells.json", plan)


def replaces(before: Mapping[str, Any], plan: Mapping[str, Any]) -> bool:
    """Whether an entry of `before`, the content of a `cells.json`, is another run in `plan`."""
    try:
        runs = {_entry(cell): cell["cell_id"] for cell in before["cells"]}
    except (KeyError, TypeError):  # of another version, or damaged
        return False
    return any(runs.get(_entry(cell), cell["cell_id"]) != cell["cell_id"] for cell in plan["cells"])


def _entry(cell: Mapping[str, Any]) -> str:
    """The place of an entry in a table."""
    return json.dumps([cell["operator"], cell["axes"], cell["seed"]], sort_keys=True)


def _described(plan: Mapping[str, Any]) -> str:
    budget = "a smoke run" if plan.get("smoke") else plan.get("budget")
    return ", ".join(map(str, [plan.get("recipe"), budget, *plan.get("settings", ())]))


def describe_cells(
    sweep: Sweep, recipe: Recipe, cells: Sequence[Cell], smoke: bool, settings: Sequence[str] = ()
) -> dict[str, Any]:
    """`cells.json`: what analysis needs to lay the sweep's table and figure out; `settings` are those of `--set`."""
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
        "beside": list(metric.secondary_metrics.items()),  # in their order, which sorted keys would not keep
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
    """For example `3 epochs`, or of a sweep over budgets `1, 2, 3, 6 epochs`."""
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
