"""A sweep and its frame, from the plan and the results of any source.

The frame has a row per cell and metric, in the order in which tables show rows and axes. The docstring of `analysis`
documents its columns. Every cell has a row for the sweep's own metric, with missing values where it has no result.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from analysis.sources.plans import SweepPlan, row_of, two_configurations
from lightning_xvol.config import registry
from lightning_xvol.config.metrics import validation_name
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import checks, record
from lightning_xvol.ledger.plan import COSTS
from lightning_xvol.ledger.tracked import value_text

_CELL_KEYS = ("operator", "label", "seed", "cell_id", "group_id")
_INTEGERS = ("best_epoch", "params", "macs", "images")
_NUMBERS = ("last", "best", "wall_seconds", "cpu_seconds")
_TEXTS = ("torch", "device", "commit", "error")
_NO_RESULT: dict[str, Any] = {
    "metric": None, "last": None, "best": None, "best_epoch": None, "params": None, "macs": None, "wall_seconds": None,
    "cpu_seconds": None, "torch": None, "device": None, "commit": None, "error": None, "images": None,
}  # fmt: skip
_DATA_AND_NETWORK = ("data.name", "data.options", "data.limit", "operator.", "backbone.", "detector.preset")
_BUDGET_AXES = {"epochs", "steps", "schedule"}


@dataclass(frozen=True)
class SweepLayout:
    """What a sweep is, without its cells.

    Attributes:
        name, title: The name of the sweep, and the title of its table.
        recipe, data, budget: The recipe, its data set, and how long a run trains.
        metric, metric_label: The metric that the table shows, and its name there.
        secondary_metrics: Further metrics that the table shows, with their names there.
        axes, axis_labels: What varies beside the rows, and the names of the axes in the table.
        baseline: The row label to which differences are taken; None for no differences.
        controls: Maps a row label to the labels of its controls.
        cost_rows: The costs below the scores of a table with axes.
        paper: Maps an axis to the value that the paper chose.
        note: A footnote.
        smoke: Whether the budget is a few steps, so that the numbers mean nothing.
        reproduces: The table and the network of the paper that the recipe can reproduce; None where it cannot.
        figure: The kind of figure (`kind`) and what runs along its x axis (`x`).
        labels: Maps a row label to its name in the table, in the order of the rows.
        settings: What `--set` changed in the recipe.
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
    def set_by_hand(self) -> tuple[str, ...]:
        """The settings that give the runs other data or another network than the recipe's."""
        return tuple(setting for setting in self.settings if setting.startswith(_DATA_AND_NETWORK))

    @property
    def origin(self) -> str:
        """The origin of the runs, for a title: `recipe match_small`, or the data and what was set by hand."""
        if not self.set_by_hand:
            return f"recipe {self.recipe}"
        return f"{self.data}; set by hand: {', '.join(self.set_by_hand)}"

    @property
    def changes(self) -> str:
        """The settings that differ from the recipe, for a footnote; empty for none.

        The text also names the recipe if the title does not.
        """
        recipe = f"; recipe: {self.recipe}" if self.set_by_hand else ""
        return f"{recipe}; changed: {', '.join(self.settings)}" if self.settings else ""

    @property
    def column_axis(self) -> str | None:
        """The axis whose values are the columns of the table: that of the figure's x axis, else the last one."""
        if self.figure.get("x") in self.axes:
            return str(self.figure["x"])
        return self.axes[-1] if self.axes else None

    @property
    def figure_x(self) -> str | None:
        """What runs along the figure's x axis: an axis of the sweep, or a cost."""
        x = self.figure.get("x")
        return str(x) if x in COSTS else self.column_axis

    def value_label(self, axis: str, value: Any) -> str:
        """The text of `value` in tables and figures: `ResNet-18` for the network `resnet18`."""
        named = isinstance(value, str) and axis in registry.KINDS and registry.is_known(axis, value)
        return registry.label(axis, value) if named else str(value)

    def heading(self, axis: str, value: Any) -> str:
        """`value_label`, with `(paper)` behind the paper's own value."""
        text = self.value_label(axis, value)
        return f"{text} (paper)" if self.paper.get(axis) == value else text

    def place(self, axis: str, value: Any) -> str:
        """The axis and its value in words: `kernel size K = 3`."""
        return f"{self.axis_label(axis)} = {self.value_label(axis, value)}"

    def axis_label(self, axis: str) -> str:
        return self.axis_labels.get(axis) or COSTS.get(axis) or axis.replace("_", " ")


@dataclass(frozen=True)
class Outcome:
    """What a source knows of a cell that was begun.

    Attributes:
        where: The file or the run on W&B.
        result: The record of the finished or diverged run.
        error: The error of its last attempt.
    """

    where: str
    result: Mapping[str, Any] | None = None
    error: str | None = None

    @classmethod
    def of(cls, where: str, result: Mapping[str, Any]) -> Outcome:
        """The outcome of a whole record. One that cannot be used counts as a failure of its run, with the reason."""
        fault = record.fault(result)
        return cls(where, error=f"{where!r} {fault}") if fault else cls(where, result)


def assemble(plan: SweepPlan, outcome: Callable[[str], Outcome | None]) -> tuple[SweepLayout, pd.DataFrame]:
    """The sweep of `plan` and its frame. `outcome` gives what is known of a cell by its id.

    Raises:
        UserError: for a plan that contradicts itself, or results that do not belong together.
    """
    sweep = _sweep(plan)
    budgets: dict[str, str] = {}
    rows = []
    for cell in plan.content["cells"]:
        known = _own(outcome(cell["cell_id"]), cell)
        if known is not None and known.result is not None:
            budgets.setdefault(_budget(known.result), cell["cell_id"])
        base = {key: cell[key] for key in _CELL_KEYS}
        base |= {"label": sweep.labels[cell["operator"]], **{axis: cell["axes"][axis] for axis in sweep.axes}}
        rows += [_NO_RESULT | base | values for values in _results(known, sweep.metric)]
    if len(budgets) > 1 and not _BUDGET_AXES & set(sweep.axes):
        listed = " and ".join(f"{budget} (cell {cell})" for budget, cell in budgets.items())
        raise UserError(f"sweep {sweep.name!r} mixes budgets: {listed}; one table holds runs of one budget")
    if _BUDGET_AXES & set(sweep.axes):
        sweep = replace(sweep, budget=_joined(budgets) or sweep.budget)  # the plan may list more than was run
    frame = _tidy(pd.DataFrame(rows), sweep)
    for axis in sweep.axes:
        if frame[axis].nunique() < len({json.dumps(cell["axes"][axis]) for cell in plan.content["cells"]}):
            raise UserError(f"{plan.where!r} has two values of axis {axis!r} that look alike, such as 1 and '1'")
    return sweep, frame


def _sweep(plan: SweepPlan) -> SweepLayout:
    content = plan.content
    labels: dict[str, str] = {}
    groups: dict[tuple[str, str], str] = {}
    seen: set[tuple[str, str, int]] = set()
    for cell in content["cells"]:
        row = row_of(cell, content["axes"])
        labels.setdefault(cell["operator"], cell["label"])
        if groups.setdefault(row, cell["group_id"]) != cell["group_id"]:
            raise two_configurations(plan, row, (groups[row], cell["group_id"]))
        if (*row, cell["seed"]) in seen:
            raise UserError(f"{plan.where!r} lists row {row[0]!r} at {row[1]} twice with seed {cell['seed']}")
        seen.add((*row, cell["seed"]))
    # A table shows rows by their label, so that rows of the same label show their names too.
    shared = {label for label, number in Counter(labels.values()).items() if number > 1}
    labels = {name: f"{label} ({name})" if label in shared else label for name, label in labels.items()}
    direct = (
        "title", "recipe", "data", "budget", "metric", "metric_label", "axis_labels", "baseline", "note", "smoke",
        "reproduces",
    )  # fmt: skip
    # This is the order of the rows, which JSON with sorted keys does not keep.
    controls = {row: tuple(content["controls"][row]) for row in labels if row in content["controls"]}
    return SweepLayout(
        name=content["sweep"], axes=tuple(content["axes"]), figure=content["figure"] or {}, labels=labels,
        controls=controls, secondary_metrics=dict(content["beside"]), cost_rows=tuple(content["below"]),
        paper={axis: axis_value(value) for axis, value in content["paper"].items()},
        settings=tuple(map(str, content.get("settings") or ())),
        **{key: content[key] for key in direct},
    )  # fmt: skip


def _own(known: Outcome | None, cell: Mapping[str, Any]) -> Outcome | None:
    """`known`, if its record is that of `cell`; else a failure, with the difference."""
    for key in ("cell_id", "group_id", "seed"):
        if known is not None and known.result is not None and known.result[key] != cell[key]:
            return Outcome(
                known.where,
                error=f"{known.where!r} has {key} {known.result[key]!r} where the sweep has {cell[key]!r}; "
                "move it away and run the sweep's command again",
            )
    return known


def _joined(budgets: Iterable[str]) -> str:
    """`1, 2, 3 epochs` for `1 epochs`, `2 epochs` and `3 epochs`; empty for budgets that cannot be joined."""
    pairs = [budget.split() for budget in budgets]
    units = {unit for _, unit in pairs}
    if len(units) != 1 or not all(amount.isdigit() for amount, _ in pairs):
        return ""
    amounts = sorted(int(amount) for amount, _ in pairs)
    return f"{', '.join(map(str, amounts))} {units.pop().removesuffix('s' * (amounts == [1]))}"


def _budget(result: Mapping[str, Any]) -> str:
    train = (result["config"] or {}).get("train") or {}
    return f"{train['steps']} steps" if train.get("steps") else f"{train.get('epochs')} epochs"


def _results(known: Outcome | None, metric: str) -> list[dict[str, Any]]:
    """The rows of a cell: one per metric, and always one for the sweep's own metric."""
    if known is None or known.result is None:
        if known is not None and known.error is not None:
            return [{"metric": metric, "state": "failed", "error": known.error}]
        return [{"metric": metric, "state": "missing"}]
    result = known.result
    metrics = result["metrics"] or {}
    diverged = result["status"] != "finished"
    if metric not in metrics and not diverged:
        named = ", ".join(metrics) or "none"
        return [{"metric": metric, "state": "failed", "error": f"it has no metric {metric!r}; it has: {named}"}]
    environment = result["environment"] or {}
    shared = {key: result[key] for key in ("params", "macs", "wall_seconds", "commit")}
    shared |= {"cpu_seconds": result.get("cpu_seconds")}  # old records have none
    shared |= {key: environment.get(key) for key in ("torch", "device")}
    if "timm" in environment:  # a table of two of its versions is mixed, as one of two versions of torch
        shared["torch"] = f"{shared['torch']} with timm {environment['timm']}"
    validated = validation_name("")
    images = _images(result)
    return [
        {
            **shared,
            "metric": name,
            "images": None if name.startswith(validated) else images,
            # A run with a value that is not a number has diverged, even where its record says that it finished.
            "state": "diverged" if diverged or not _finite(metrics[name]) else "finished",
            **{key: metrics.get(name, {}).get(key) for key in ("last", "best", "best_epoch")},
        }
        for name in {**metrics, metric: None}
    ]


def _images(result: Mapping[str, Any]) -> int | None:
    """The number of test images, from 1; None where neither the record nor the registry tells it."""
    contents, data = result.get("data"), (result["config"] or {}).get("data")
    for split in ("test", "validation"):
        if isinstance(contents, dict) and checks.is_whole(contents.get(split), 1):
            return int(contents[split])
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return None
    limit = data.get("limit")
    images = registry.images_of(data["name"], data.get("options") or {}, limit if checks.is_whole(limit, 1) else None)
    return images if checks.is_whole(images, 1) else None


def _finite(values: Mapping[str, Any]) -> bool:
    return all(checks.is_number(values.get(key)) for key in ("last", "best"))


def _tidy(frame: pd.DataFrame, sweep: SweepLayout) -> pd.DataFrame:
    """The types and the order of a frame: counts are Int64, measurements float64, an axis int64, float64 or text."""
    for column, kind in {**dict.fromkeys(_INTEGERS, "Int64"), **dict.fromkeys(_NUMBERS, "float64")}.items():
        frame[column] = pd.to_numeric(frame[column]).astype(kind)
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
            frame[axis] = pd.Series([value_text(value) for value in values], index=frame.index, dtype="str")
    order = {"operator": list(sweep.labels)} | {axis: _levels(frame[axis]) for axis in sweep.axes}
    places = {key: {level: place for place, level in enumerate(levels)} for key, levels in order.items()}
    ranks = frame.assign(**{key: frame[key].map(place) for key, place in places.items()})
    ranks = ranks.sort_values([*order, "seed"], kind="stable")
    columns = ["operator", "label", *sweep.axes, "seed", "cell_id", "group_id", "state", *_NO_RESULT]
    return frame.loc[ranks.index, columns].reset_index(drop=True)


def _levels(values: pd.Series) -> list[Any]:
    """The values of an axis in order: numbers ascend, anything else keeps the order of the sweep."""
    unique = values.drop_duplicates().tolist()
    return sorted(unique) if pd.api.types.is_numeric_dtype(values) else unique


def axis_value(value: Any) -> Any:
    """The value of an axis as the frame holds it: numbers stay, anything else becomes text."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else value_text(value)
