"""The runs of ours that stand where the paper prints a row: one pool per table, and per data and budget.

Rows are joined over sweeps by fingerprint: what is in `stage` and in `operator` is one row, and two configurations
that claim one place are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis import published
from analysis.sources.collection import Collection
from analysis.sources.ledger import Sweep
from analysis.statistics import seed_values
from lightning_xvol import record
from lightning_xvol.config import from_dict, to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.recipes import RECIPES

SWEEPS = {
    "1": ("operator", "stage"), "2": ("operator",), "3": ("operator",), "4": ("position_encoding",),
    "6": ("schedule",), "3a": ("kernel_size",), "3b": ("schedule",),
}  # fmt: skip
"""The sweeps whose runs make a table; 3a and 3b are the two halves of Figure 3, which print no numbers."""
SETTINGS = {"2": "faster_rcnn 1x", "3": "mask_rcnn 1x"}
_OPERATORS = ("1", "2", "3")
PAPER = "paper"

Place = tuple[str, str, str]  # backbone (empty but on the paper's protocol of Table 1), row label, setting


@dataclass
class Pool:
    """`data` is `PAPER` on the paper's protocol, else what the runs were trained on and how long."""

    table: str
    data: str
    sweeps: list[Sweep] = field(default_factory=list)
    frames: list[pd.DataFrame] = field(default_factory=list)
    groups: dict[Place, str] = field(default_factory=dict)
    values: dict[Place, dict[str, dict[int, float]]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(metric for row in self.values.values() for metric in row))

    def seeds(self, place: Place, metric: str) -> Mapping[int, float]:
        """The value of each finished run in a place; empty where there is none."""
        return self.values.get(place, {}).get(metric, {})


def pools(sources: Collection, table: str, select: str = "last") -> list[Pool]:
    """The pools of a table, that of the paper's protocol first.

    Raises:
        UserError: where two configurations claim one place.
    """
    found: dict[str, Pool] = {}
    for sweep, frame in sources.variants(SWEEPS[table]):
        if table in _OPERATORS and sweep.reproduces and sweep.reproduces[0] != table:
            continue  # a recipe of one of these tables is no other data of the next
        if table in ("2", "4", "6") and sweep.metric == "mask_ap":
            continue  # they are Faster R-CNN's
        configs = _configs(sources, frame)
        data = PAPER if _on_protocol(table, sweep, frame, configs) else _named(sweep)
        pool = found.setdefault(data, Pool(table, data))
        pool.sweeps.append(sweep)
        pool.frames.append(frame)
        _add(pool, sweep, frame, configs, sources, select)
    return sorted(found.values(), key=lambda pool: pool.data != PAPER)


def _named(sweep: Sweep) -> str:
    return f"{sweep.data} ({sweep.recipe}, {'SMOKE, ' if sweep.smoke else ''}{sweep.budget})"


def _configs(sources: Collection, frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The configuration of each group that has a finished run."""
    done = frame[frame["state"] == "finished"].drop_duplicates("group_id")
    found = {}
    for group, cell in zip(done["group_id"], done["cell_id"], strict=True):
        outcome = sources.outcome(cell)
        if outcome is not None and outcome.result is not None and isinstance(outcome.result["config"], dict):
            found[group] = outcome.result["config"]
    return found


def _on_protocol(table: str, sweep: Sweep, frame: pd.DataFrame, configs: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether data, optimisation and budget are those of a recipe that reproduces this table.

    Runs in a printed row have to be that row's own configuration, so that a printed number meets no other.
    """
    recipe = RECIPES.get(sweep.recipe)
    if recipe is None or recipe.reproduces is None or sweep.smoke:
        return False
    protocol = _protocol(to_dict(recipe.config()), sweep)
    if any(_protocol(config, sweep) != protocol for config in configs.values()):
        return False
    if not table.isdigit():
        return True
    known = {group for group, _ in published.values_by_group()}
    printed = published.of_table(int(table))
    rows = frame.drop_duplicates("group_id")
    places = zip(rows["group_id"], (_place(table, sweep, row, configs) for _, row in rows.iterrows()), strict=True)
    own = all(
        group in known
        for group, place in places
        if group in configs and place is not None and (recipe.reproduces[1], *place) in printed
    )
    return own and recipe.reproduces[0] == published.BASES[int(table)]


def _protocol(values: Mapping[str, Any], sweep: Sweep) -> list[Any]:
    try:
        values = record.canonical(from_dict(dict(values)))
    except UserError:  # made by another version
        return [None, values]
    train, optim = dict(values["train"]), dict(values["optim"])
    if "schedule" in sweep.axes:  # what `recipes.lengthen` changes
        for section, names in ((train, ("epochs", "steps")), (optim, ("warmup", "milestones"))):
            for name in names:
                section.pop(name, None)
    # Each operator starts from its own classifier.
    detector = {name: value for name, value in values.get("detector", {}).items() if name != "origin"}
    return [values["data"], optim, train, detector]


def _add(
    pool: Pool, sweep: Sweep, frame: pd.DataFrame, configs: Mapping[str, Any], sources: Collection, select: str
) -> None:
    # Only Table 1 has two backbones; elsewhere, and on other data, a row is told by label and setting.
    backbone = sweep.reproduces[1] if pool.data == PAPER and pool.table == "1" else ""
    for group, rows in frame.groupby("group_id", sort=False):
        first = rows.iloc[0]
        place = _place(pool.table, sweep, first, configs)
        if place is None:
            continue
        if pool.table == "3b":
            _add_curves(pool, (backbone, *place), rows, sweep, sources)
            continue
        key = (backbone, *place)
        if pool.groups.setdefault(key, group) != group:
            raise UserError(
                f"Table {pool.table}: {' '.join(part for part in key if part)} has two configurations "
                f"({pool.groups[key]} and {group}); give their sweeps one by one"
            )
        for metric, runs in rows.groupby("metric", sort=False):
            pool.values.setdefault(key, {}).setdefault(metric, {}).update(seed_values(runs, select))


def _add_curves(pool: Pool, key: Place, rows: pd.DataFrame, sweep: Sweep, sources: Collection) -> None:
    """Fig. 3 (b): the metric after each epoch, on the validation draw where the test draw is kept for the end."""
    done = rows[(rows["metric"] == sweep.metric) & (rows["state"] == "finished")]
    for seed, cell in zip(done["seed"], done["cell_id"], strict=True):
        curve = sources.curve(cell, f"val_{sweep.metric}") or sources.curve(cell, sweep.metric)
        for epoch, value in curve.values():
            place = (*key[:2], f"epoch {epoch}")
            pool.groups.setdefault(place, str(rows["group_id"].iloc[0]))
            pool.values.setdefault(place, {}).setdefault(sweep.metric, {})[int(seed)] = value


def _place(
    table: str, sweep: Sweep, row: pd.Series, configs: Mapping[str, Mapping[str, Any]]
) -> tuple[str, str] | None:
    """Label and setting of the printed row where a group stands; None where the table has no place for it."""
    label = str(row["operator"])
    if table == "1":
        if sweep.name == "stage":
            stages = str(row["stages"]).split(", ")
        else:
            config = configs.get(row["group_id"], {})
            stages = [str(stage) for stage in config.get("backbone", {}).get("stages", ())]
        if not label.startswith("xvolution") or label.startswith(("xvolution_sa", "xvolution_inv")):
            return label, ""
        return (label, f"stage{stages[0]}") if len(stages) == 1 and stages[0].isdigit() else None
    if table == "4":
        position = published.WITH_POSITION if label.endswith("_position") else published.WITHOUT_POSITION
        return label.removesuffix("_position"), position
    if table == "6":
        return label, f"{published.BASE_EPOCHS * int(row['schedule'])} epochs"
    if table == "3b":
        return (label, "") if int(row["schedule"]) == 1 else None
    if table == "3a":
        return label, f"K={row['kernel_size']}"
    return label, SETTINGS[table]
