"""Reads a sweep from the ledger that `ablations` keeps: `OUT/<sweep>/cells.json` and `OUT/cells/<cell id>/result.json`.

The frame has a row per cell and metric, in the order in which rows and axes are shown. Its columns: `operator` (the row
label, unique in a sweep), `label` (how tables call it), one per axis, `seed`, `cell_id`, `group_id`, `state` (finished,
diverged, failed or missing), `metric`, `last`, `best`, `best_epoch`, `params`, `macs`, `wall_seconds`, `torch`,
`device`, `commit`, `error`. Every cell has a row for the sweep's own metric, with empty values where it has no result.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lightning_xvol import files, record
from lightning_xvol.errors import UserError, nearest

SCHEMA = 1
_SWEEP_KEYS = (
    "sweep", "title", "recipe", "data", "budget", "metric", "metric_label", "axes", "axis_labels", "baseline",
    "control", "smoke", "reproduces", "figure", "cells",
)  # fmt: skip
_CELL_KEYS = ("operator", "label", "axes", "seed", "cell_id", "group_id")
_INTEGERS = ("best_epoch", "params", "macs")
_NUMBERS = ("last", "best", "wall_seconds")
_NO_RESULT: dict[str, Any] = {
    "metric": None, "last": None, "best": None, "best_epoch": None, "params": None, "macs": None, "wall_seconds": None,
    "torch": None, "device": None, "commit": None, "error": None,
}  # fmt: skip
COSTS = {"params": "parameters", "macs": "MACs per image", "wall_seconds": "seconds a run"}
"""What a run costs: these columns of a frame, and how tables and figures call them."""
_RESERVED = {*_CELL_KEYS, *_NO_RESULT, "state"} - {"axes"}


@dataclass(frozen=True)
class Sweep:
    """What `cells.json` says of a sweep as a whole; `labels` maps each row label to its name in tables, in order.

    `beside` maps each metric that the table shows below the sweep's own to how it calls it.
    """

    name: str
    title: str
    recipe: str
    data: str
    budget: str
    metric: str
    metric_label: str
    beside: Mapping[str, str]
    axes: tuple[str, ...]
    axis_labels: Mapping[str, str]
    baseline: str | None
    control: str | None
    smoke: bool
    reproduces: Any
    figure: Mapping[str, Any]
    labels: Mapping[str, str]

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

    def axis_label(self, axis: str) -> str:
        return self.axis_labels.get(axis) or COSTS.get(axis) or axis.replace("_", " ")


def sweeps(source: Path) -> list[str]:
    """The names of the sweeps at `source`.

    Raises:
        UserError: where there is no ledger.
    """
    if not source.is_dir():
        raise UserError(f"no ledger at {str(source)!r}: no such folder; give the --out folder of a sweep")
    names = sorted(path.parent.name for path in source.glob("*/cells.json"))
    if not names:
        raise UserError(
            f"no ledger at {str(source)!r}: none of its folders holds cells.json; give the --out of a sweep"
        )
    return names


def load(source: Path, name: str) -> tuple[Sweep, pd.DataFrame]:
    """The sweep `name` of the ledger at `source` and its frame.

    Raises:
        UserError: for an unknown sweep, a file that is not a sweep's, or results that do not belong together.
    """
    known = sweeps(source)
    if name not in known:
        raise UserError(f"no sweep {name!r} at {str(source)!r}{nearest(name, known)} It has: {', '.join(known)}")
    path = source / name / "cells.json"
    content = _read_sweep(path)
    cells = content["cells"]
    sweep = _sweep(content, path)
    budgets: dict[str, str] = {}
    rows = []
    for cell in cells:
        folder = record.cell_folder(source, cell["cell_id"])
        result = record.read_result(folder)
        if result is not None:
            _check_identity(result, cell, folder)
            budgets.setdefault(_budget(result), cell["cell_id"])
        base = {key: cell[key] for key in _CELL_KEYS if key != "axes"}
        base |= {"label": sweep.labels[cell["operator"]], **{axis: cell["axes"][axis] for axis in sweep.axes}}
        rows += [_NO_RESULT | base | values for values in _results(folder, result, sweep.metric)]
    if len(budgets) > 1 and not {"epochs", "steps"} & set(sweep.axes):
        listed = " and ".join(f"{budget} (cell {cell})" for budget, cell in budgets.items())
        raise UserError(f"sweep {name!r} mixes budgets: {listed}; one table holds runs of one budget")
    return sweep, _tidy(pd.DataFrame(rows), sweep)


def _read_sweep(path: Path) -> dict[str, Any]:
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"cannot read {str(path)!r} as JSON; run the sweep's command again, finished cells are kept")
    if content.get("schema") != SCHEMA:
        raise UserError(f"{str(path)!r} has schema {content.get('schema')!r}, this version reads {SCHEMA}")
    missing = [key for key in _SWEEP_KEYS if key not in content]
    for cell in content.get("cells", ()):
        missing += [f"cells.{key}" for key in _CELL_KEYS if key not in cell and f"cells.{key}" not in missing]
        missing += [f"cells.axes.{axis}" for axis in content.get("axes", ()) if axis not in cell.get("axes", {})]
    if missing:
        raise UserError(f"{str(path)!r} lacks {', '.join(dict.fromkeys(missing))}; run the sweep's command again")
    if not content["cells"]:
        raise UserError(f"{str(path)!r} lists no cells; run the sweep's command again")
    clash = _RESERVED.intersection(content["axes"])
    if clash:
        raise UserError(f"{str(path)!r} has an axis {clash.pop()!r}, which is a column of every table; rename the axis")
    return content


def _sweep(content: Mapping[str, Any], path: Path) -> Sweep:
    labels: dict[str, str] = {}
    groups: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str, int]] = set()
    for cell in content["cells"]:
        row = (cell["operator"], json.dumps(cell["axes"], sort_keys=True))
        labels.setdefault(cell["operator"], cell["label"])
        if groups.setdefault(row, cell["group_id"]) != cell["group_id"]:
            raise UserError(
                f"{str(path)!r} gives row {row[0]!r} at {row[1]} two configurations; give each its row label"
            )
        if (*row, cell["seed"]) in seen:
            raise UserError(f"{str(path)!r} lists row {row[0]!r} at {row[1]} twice with seed {cell['seed']}")
        seen.add((*row, cell["seed"]))
    # Rows are told apart by their label in tables, so two of the same label show their names too.
    shared = {label for label in labels.values() if list(labels.values()).count(label) > 1}
    labels = {name: f"{label} ({name})" if label in shared else label for name, label in labels.items()}
    direct = (
        "title", "recipe", "data", "budget", "metric", "metric_label", "axis_labels", "baseline", "control", "smoke",
        "reproduces",
    )  # fmt: skip
    return Sweep(
        name=content["sweep"], beside=content.get("beside", {}), axes=tuple(content["axes"]),
        figure=content["figure"] or {}, labels=labels,
        **{key: content[key] for key in direct},
    )  # fmt: skip


def _check_identity(result: Mapping[str, Any], cell: Mapping[str, Any], folder: Path) -> None:
    for key in ("cell_id", "group_id", "seed"):
        if result[key] != cell[key]:
            raise UserError(
                f"{str(folder / 'result.json')!r} has {key} {result[key]!r} where the sweep has {cell[key]!r}; "
                "move the folder away and run the sweep's command again"
            )


def _budget(result: Mapping[str, Any]) -> str:
    train = (result["config"] or {}).get("train") or {}
    return f"{train['steps']} steps" if train.get("steps") else f"{train.get('epochs')} epochs"


def _results(folder: Path, result: Mapping[str, Any] | None, metric: str) -> list[dict[str, Any]]:
    """What the cell in `folder` adds to its rows: one per metric, the sweep's own always among them."""
    if result is None:
        failure = files.read_json(folder / "failure.json")
        if isinstance(failure, dict):
            return [{"metric": metric, "state": "failed", "error": str(failure.get("error", ""))}]
        return [{"metric": metric, "state": "missing"}]
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


def _tidy(frame: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """The one rule for dtypes and order: counts are Int64, measurements float64, an axis int64, float64 or text."""
    for column in _INTEGERS:
        frame[column] = pd.to_numeric(frame[column]).astype("Int64")
    for column in _NUMBERS:
        frame[column] = pd.to_numeric(frame[column]).astype("float64")
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


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
