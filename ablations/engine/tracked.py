"""What W&B is told of the cells of a sweep, and of its table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.engine.sweep import Cell
from lightning_xvol.ledger import files, tracked
from lightning_xvol.ledger import plan as ledger_plan

if TYPE_CHECKING:
    from ablations.engine.cell import SweepContext
    from lightning_xvol.training.tracked_values import Tracking


def tracking_of(cell: Cell | None, context: SweepContext) -> Tracking:
    """How `cell` is tracked: with its row, its axes and the plan of the sweep, so that tracked runs make the table."""
    from lightning_xvol.training.tracked_values import Tracking

    whole = Tracking(
        context.wandb,
        context.wandb_project,
        context.sweep,
        axis_labels=context.axis_labels,
        recipe=context.recipe,
        smoke=context.smoke,
        entity=context.wandb_entity,
        tags=context.wandb_tags,
        notes=context.wandb_notes,
        system=context.wandb_system,
        artifacts=context.wandb_artifacts,
    )
    if cell is None:
        return whole
    return dataclasses.replace(whole, row=cell.row, axes=dict(cell.axes), plan=_plan_with(cell, context))


def _plan_with(cell: Cell, context: SweepContext) -> Mapping[str, Any] | None:
    """The plan of the sweep, or None where another command has begun the sweep on another recipe in the meantime."""
    plan: Any = files.read_json(context.out / context.sweep / "cells.json")
    if ledger_plan.fault(plan, "cells.json") or cell.id not in {planned["cell_id"] for planned in plan["cells"]}:
        return None
    return dict(plan)


def upload_table(paths: Mapping[str, Path], context: SweepContext, tell: Callable[[str], None]) -> None:
    """Upload the table and the figure of the sweep to W&B. `tell` gets a sentence where W&B fails."""
    from lightning_xvol.training.tracked_files import upload_table

    plan: Any = files.read_json(context.out / context.sweep / "cells.json")
    # Commands that differ in their seeds or rows alone make new versions of one table.
    identity = {key: value for key, value in plan.items() if key != "cells"} if isinstance(plan, dict) else {}
    name = f"{context.sweep}-{tracked.digest(identity)}"
    upload_table(tracking_of(None, context), context.out / context.sweep, name, paths, tell)
