"""What W&B is told of a run: its names, its configuration, and its summary at the start and at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lightning_xvol.config.resolved import SCHEMA, Resolved
from lightning_xvol.config.schema import DEFAULT_PROJECT, flat, to_dict
from lightning_xvol.ledger import packed, tracked

if TYPE_CHECKING:
    from lightning_xvol.data.module import StepPlan

Mode = Literal["offline", "online", "disabled"]
PICTURED = ("device", "torch")  # what the summary shows of the environment; the record holds all of it


@dataclass(frozen=True)
class Tracking:
    """How a run is tracked. Nothing of it changes the run.

    Attributes:
        mode: `offline`, `online` or `disabled`.
        project: The W&B project.
        sweep: The name of the sweep, which is the job type of the run.
        row: The row of the sweep's table; by default the name of the operator.
        axes: The values of the sweep's axes.
        axis_labels: The labels of axes, as in `cells.json`.
        recipe: The recipe; empty where unknown.
        smoke: Whether the budget is a few steps.
        plan: The plan of the sweep, as in `cells.json`.
        entity: The W&B user or team; by default the user's own.
        tags: Further tags.
        notes: The notes of the run.
        system: Whether W&B measures the processor, memory and accelerators.
        artifacts: Whether the last checkpoint and the record are uploaded.
    """

    mode: Mode = "offline"
    project: str = DEFAULT_PROJECT
    sweep: str = "fit"
    row: str = ""
    axes: Mapping[str, Any] = field(default_factory=dict)
    axis_labels: Mapping[str, str] = field(default_factory=dict)
    recipe: str = ""
    smoke: bool = False
    plan: Mapping[str, Any] | None = None
    entity: str | None = None
    tags: Sequence[str] = ()
    notes: str | None = None
    system: bool = False
    artifacts: bool = False


def arguments_of(tracking: Tracking, config: Resolved, commit: str | None) -> dict[str, Any]:
    """The arguments of `wandb.init` that name and describe the run. The id of the W&B run is the id of the cell."""
    row = tracking.row or config.operator.name
    cell = tracked.cell_name(row.rsplit(":", 1)[-1], tracking.axes, tracking.axis_labels)
    automatic = [tracking.sweep, tracking.recipe, config.operator.name, "SMOKE" * tracking.smoke]
    automatic += [f"commit:{commit[:12]}"] if commit else []
    shown = {"sweep": tracking.sweep, "recipe": tracking.recipe, "row": row}
    shown |= {f"axis_{axis}": value for axis, value in tracking.axes.items()}
    return {
        "entity": tracking.entity,
        "project": tracking.project,
        "id": config.cell_id,
        "name": tracked.run_name(cell, config.seed),
        "group": tracked.group_name(cell, tracking.recipe, config.group_id),
        "job_type": tracking.sweep,
        "tags": tracked.tag_names([*automatic, *tracking.tags]),
        "notes": tracking.notes,
        # Flat, because W&B groups and filters by flat keys alone.
        "config": {**shown, "seed": config.seed, **flat(to_dict(config))},
    }


def first_summary(tracking: Tracking, config: Resolved, plan: StepPlan) -> dict[str, str]:
    """What a reader needs of a run that has begun (`lightning_xvol.ledger.tracked`)."""
    cell = {
        "schema": SCHEMA,
        "cell_id": config.cell_id,
        "group_id": config.group_id,
        "seed": config.seed,
        "sweep": tracking.sweep,
        "steps_per_epoch": plan.steps_per_epoch,
        "total_steps": plan.total_steps,
    }
    if tracking.plan is None:
        return {tracked.CELL: json.dumps(cell)}
    text, number = packed.pack(tracking.plan, config.group_id)
    cell |= {"plan": tracked.digest(tracking.plan), "number": number}
    return {tracked.CELL: json.dumps(cell), tracked.PLAN: text}


def last_summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """What people compare of a finished run, and its whole record for a reader."""
    values: dict[str, Any] = {key: result[key] for key in ("status", "params", "macs", "wall_seconds")}
    for name, metric in result["metrics"].items():
        values |= {name: metric["last"], f"{name}_best": metric["best"], f"{name}_best_epoch": metric["best_epoch"]}
    values |= {name: result["environment"][name] for name in PICTURED if name in result["environment"]}
    return {**values, tracked.RESULT: json.dumps(result, sort_keys=True)}
