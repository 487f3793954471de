"""A sweep and its frame, whatever source its plan and its results come from.

The frame has a row per cell and metric, in the order in which rows and axes are shown. Its columns: `operator` (the row
label, unique in a sweep), `label` (how tables call it), one per axis, `seed`, `cell_id`, `group_id`, `state` (finished,
diverged, failed or missing), `metric`, `last`, `best`, `best_epoch`, `params`, `macs`, `wall_seconds`, `torch`,
`device`, `commit`, `error`. Every cell has a row for the sweep's own metric, with empty values where it has no result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.sources.plans import Plan, row_of, two_configurations
from lightning_xvol.errors import UserError

SCHEMA = 1
_TEXT_OR_NONE = (str, type(None))
_MAPPING_OR_NONE = (dict, type(None))
_SWEEP_KEYS: dict[str, tuple[type, ...]] = {
    "sweep": (str,), "title": (str,), "recipe": (str,), "data": (str,), "budget": (str,), "metric": (str,),
    "metric_label": (str,), "axes": (list,), "axis_labels": (dict,), "baseline": _TEXT_OR_NONE, "controls": (dict,),
    "beside": (list, dict), "below": (list,), "paper": (dict,), "note": (str,), "smoke": (bool,),
    "reproduces": (list, type(None)), "figure": _MAPPING_OR_NONE, "cells": (list,),
}  # fmt: skip
_CELL_KEYS: dict[str, tuple[type, ...]] = {
    "operator": (str,), "label": (str,), "axes": (dict,), "seed": (int,), "cell_id": (str,), "group_id": (str,),
}  # fmt: skip
_RECORD_KEYS = dict.fromkeys(("config", "metrics", "environment"), _MAPPING_OR_NONE)
_INTEGERS = ("best_epoch", "params", "macs")
_NUMBERS = ("last", "best", "wall_seconds")
_TEXTS = ("torch", "device", "commit", "error")
_NO_RESULT: dict[str, Any] = {
    "metric": None, "last": None, "best": None, "best_epoch": None, "params": None, "macs": None, "wall_seconds": None,
    "torch": None, "device": None, "commit": None, "error": None,
}  # fmt: skip
COSTS = {"params": "parameters", "macs": "MACs per image", "wall_seconds": "seconds a run"}
"""What a run costs: these columns of a frame, and how tables and figures call them."""
_BUDGET_AXES = {"epochs", "steps", "schedule"}
_RESERVED = {*_CELL_KEYS, *_NO_RESULT, "sweep", "recipe", "state"} - {"axes"}


@dataclass(frozen=True)
class SweepLayout:
    """What `cells.json` says of a sweep as a whole; `labels` maps each row label to its name in tables, in order.

    `secondary_metrics` maps each metric that the table shows below the sweep's own to its label. `settings` are what
    `--set` changed in the recipe.
    """

    name: str
    title: str
    recipe: str
    data: str
    budget: str
    metric: str
    metric_label: str
    secondary_metrics: Mapping[str, str]
    axes: tuple[str, ...]
    axis_labels: Mapping[str, str]
    baseline: str | None
    controls: Mapping[str, tuple[str, ...]]
    cost_rows: tuple[str, ...]
    paper: Mapping[str, Any]
    note: str
    smoke: bool
    reproduces: Any
    figure: Mapping[str, Any]
    labels: Mapping[str, str]
    settings: tuple[str, ...] = ()

    @property
    def column_axis(self) -> str | None:
        """The axis that runs across a table's columns: the one along the figure's x, else the last one."""
        if self.figure.get("x") in self.axes:
            return str(self.figure["x"])
        return self.axes[-1] if self.axes else None

    @property
    def figure_x(self) -> str | None:
        """What runs along a figure's x: an axis, or what runs cost."""
        x = self.figure.get("x")
        return str(x) if x in COSTS else self.column_axis

    def heading(self, axis: str, value: Any) -> str:
        """How tables and figures write `value` of `axis`: the paper's own is marked."""
        return f"{value} (paper)" if self.paper.get(axis) == value else str(value)

    def axis_label(self, axis: str) -> str:
        return self.axis_labels.get(axis) or COSTS.get(axis) or axis.replace("_", " ")


@dataclass(frozen=True)
class Outcome:
    """What a source knows of a cell that was begun: its record, or the error of its last attempt, or neither."""

    where: str
    result: Mapping[str, Any] | None = None
    error: str | None = None


def assemble(plan: Plan, outcome: Callable[[str], Outcome | None]) -> tuple[SweepLayout, pd.DataFrame]:
    """The sweep that `plan` lays out, and its frame.

    `outcome` gives what is known of a cell by its id, None where nothing is.

    Raises:
        UserError: for a plan that is not whole, or results that do not belong together.
    """
    content = plan.content
    _check_plan(content, plan.where)
    sweep = _sweep(plan)
    budgets: dict[str, str] = {}
    rows = []
    for cell in content["cells"]:
        known = outcome(cell["cell_id"])
        if known is not None and known.result is not None:
            _check_record(known.result, cell, known.where)
            budgets.setdefault(_budget(known.result), cell["cell_id"])
        base = {key: cell[key] for key in _CELL_KEYS if key != "axes"}
        base |= {"label": sweep.labels[cell["operator"]], **{axis: cell["axes"][axis] for axis in sweep.axes}}
        rows += [_NO_RESULT | base | values for values in _results(known, sweep.metric)]
    if len(budgets) > 1 and not _BUDGET_AXES & set(sweep.axes):
        listed = " and ".join(f"{budget} (cell {cell})" for budget, cell in budgets.items())
        raise UserError(f"sweep {sweep.name!r} mixes budgets: {listed}; one table holds runs of one budget")
    return sweep, _tidy(pd.DataFrame(rows), sweep)


def _check_plan(plan: Any, where: str) -> None:
    if not isinstance(plan, dict):
        raise UserError(f"cannot read {where!r} as JSON; run the sweep's command again, finished cells are kept")
    if plan.get("schema") != SCHEMA:
        raise UserError(f"{where!r} has schema {plan.get('schema')!r}, this version reads {SCHEMA}")
    axes, cells = (plan[key] if isinstance(plan.get(key), list) else [] for key in ("axes", "cells"))
    unfit = _unfit(plan, _SWEEP_KEYS)
    for cell in cells:
        unfit += [f"cells.{key}" for key in _unfit(cell, _CELL_KEYS)]
        places = cell.get("axes") if isinstance(cell, dict) else None
        unfit += [f"cells.axes.{axis}" for axis in _unfit(places, {str(axis): (object,) for axis in axes})]
    if unfit:
        listed = ", ".join(dict.fromkeys(unfit))
        raise UserError(f"{where!r} lacks {listed}, or holds something else there; run the sweep's command again")
    if not plan["cells"]:
        raise UserError(f"{where!r} lists no cells; run the sweep's command again")
    clash = _RESERVED.intersection(plan["axes"])
    if clash:
        raise UserError(f"{where!r} has an axis {clash.pop()!r}, which is a column of every table; rename the axis")


def _unfit(content: Any, kinds: Mapping[str, tuple[type, ...]]) -> list[str]:
    """The keys that `content` lacks, or has as something of another kind."""
    content = content if isinstance(content, dict) else {}
    return [key for key, kind in kinds.items() if key not in content or not isinstance(content[key], kind)]


def _sweep(plan: Plan) -> SweepLayout:
    content = plan.content
    labels: dict[str, str] = {}
    groups: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str, int]] = set()
    for cell in content["cells"]:
        row = row_of(cell)
        labels.setdefault(cell["operator"], cell["label"])
        if groups.setdefault(row, cell["group_id"]) != cell["group_id"]:
            raise two_configurations(plan, row, (groups[row], cell["group_id"]))
        if (*row, cell["seed"]) in seen:
            raise UserError(f"{plan.where!r} lists row {row[0]!r} at {row[1]} twice with seed {cell['seed']}")
        seen.add((*row, cell["seed"]))
    # Rows are told apart by their label in tables, so two of the same label show their names too.
    shared = {label for label in labels.values() if list(labels.values()).count(label) > 1}
    labels = {name: f"{label} ({name})" if label in shared else label for name, label in labels.items()}
    direct = (
        "title", "recipe", "data", "budget", "metric", "metric_label", "axis_labels", "baseline", "note", "smoke",
        "reproduces",
    )  # fmt: skip
    # In the order of the rows, which JSON with sorted keys does not keep.
    controls = {row: tuple(content["controls"][row]) for row in labels if row in content["controls"]}
    return SweepLayout(
        name=content["sweep"], axes=tuple(content["axes"]), figure=content["figure"] or {}, labels=labels,
        controls=controls, secondary_metrics=dict(content["beside"]), cost_rows=tuple(content["below"]),
        paper={axis: axis_value(value) for axis, value in content["paper"].items()},
        settings=tuple(map(str, content.get("settings") or ())),
        **{key: content[key] for key in direct},
    )  # fmt: skip


def _check_record(result: Mapping[str, Any], cell: Mapping[str, Any], where: str) -> None:
    unfit = _unfit(result, _RECORD_KEYS)
    if unfit:
        raise UserError(
            f"{where!r} lacks {', '.join(unfit)}, or holds something else there; "
            "move it away and run the sweep's command again"
        )
    for key in ("cell_id", "group_id", "seed"):
        if result[key] != cell[key]:
            raise UserError(
                f"{where!r} has {key} {result[key]!r} where the sweep has {cell[key]!r}; "
                "move it away and run the sweep's command again"
            )


def _budget(result: Mapping[str, Any]) -> str:
    train = (result["config"] or {}).get("train") or {}
    return f"{train['steps']} steps" if train.get("steps") else f"{train.get('epochs')} epochs"


def _results(known: Outcome | None, metric: str) -> list[dict[str, Any]]:
    """What a cell adds to its rows: one per metric, the sweep's own always among them."""
    if known is None or known.result is None:
        if known is not None and known.error is not None:
            return [{"metric": metric, "state": "failed", "error": known.error}]
        return [{"metric": metric, "state": "missing"}]
    result = known.result
    metrics = result["metrics"] or {}
    diverged = result["status"] != "finished"
    if metric not in metrics and not diverged:
        raise UserError(f"cell {result['cell_id']} has no metric {metric!r}; it has: {', '.join(metrics) or 'none'}")
    environment = result["environment"] or {}
    shared = {key: result[key] for key in ("params", "macs", "wall_seconds", "commit")}
    shared |= {key: environment.get(key) for key in ("torch", "device")}
    return [
        {
            **shared,
            "metric": name,
            # A value that is not a number is a diverged run, whatever the record calls it.
            "state": "diverged" if diverged or not _finite(metrics[name]) else "finished",
            **{key: metrics.get(name, {}).get(key) for key in ("last", "best", "best_epoch")},
        }
        for name in {**metrics, metric: None}
    ]


def _finite(values: Mapping[str, Any]) -> bool:
    return all(isinstance(values.get(key), (int, float)) and math.isfinite(values[key]) for key in ("last", "best"))


def _tidy(frame: pd.DataFrame, sweep: SweepLayout) -> pd.DataFrame:
    """The one rule for dtypes and order: counts are Int64, measurements float64, an axis int64, float64 or text."""
    for column, kind in {**dict.fromkeys(_INTEGERS, "Int64"), **dict.fromkeys(_NUMBERS, "float64")}.items():
        try:
            frame[column] = pd.to_numeric(frame[column]).astype(kind)
        except (ValueError, TypeError, OverflowError) as error:
            whole = "whole number of 64 bits" if kind == "Int64" else "number"
            raise UserError(f"sweep {sweep.name!r} has a record whose {column} is no {whole} ({error})") from error
    for column in _TEXTS:
        frame[column] = pd.Series(frame[column].tolist(), index=frame.index, dtype="str")
    for axis in sweep.axes:
        values = frame[axis].tolist()
        kinds = {type(value) for value in values}
        if kinds == {int}:
            frame[axis] = frame[axis].astype("int64")
        elif kinds <= {int, float}:
            frame[axis] = frame[axis].astype("float64")
        else:
            frame[axis] = pd.Series([_text(value) for value in values], index=frame.index, dtype="str")
    order = {"operator": list(sweep.labels)} | {axis: _levels(frame[axis]) for axis in sweep.axes}
    ranks = frame.assign(**{key: frame[key].map(levels.index) for key, levels in order.items()})
    ranks = ranks.sort_values([*order, "seed"], kind="stable")
    columns = ["operator", "label", *sweep.axes, "seed", "cell_id", "group_id", "state", *_NO_RESULT]
    return frame.loc[ranks.index, columns].reset_index(drop=True)


def _levels(values: pd.Series) -> list[Any]:
    """Numbers ascend, anything else keeps the order in which the sweep names it."""
    unique = values.drop_duplicates().tolist()
    return sorted(unique) if pd.api.types.is_numeric_dtype(values) else unique


def axis_value(value: Any) -> Any:
    """As the frame holds it: numbers stay, anything else is text."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(_text(item) for item in value)  # as `--only` takes it
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
