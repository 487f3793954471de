"""The runs of ours that stand where the paper prints a row: one pool per table, and per data and budget.

Rows are joined over sweeps by fingerprint: what is in `stage` and in `operator` is one row, and two configurations
that claim one place are refused, also those that differ in nothing but how they were computed. Whether runs are on the
paper's protocol does not depend on that (`analysis.paper.protocol`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.paper import protocol, published
from analysis.sources.collection import Collection
from analysis.sources.frame import SweepLayout
from analysis.statistics import seed_values
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import RECIPES, lengthen
from lightning_xvol.config.resolved import canonical
from lightning_xvol.config.schema import from_dict
from lightning_xvol.errors import UserError

SWEEPS = {
    "1": ("operator", "stage"), "2": ("operator",), "3": ("operator",), "4": ("position_encoding",),
    "6": ("schedule",), "3a": ("kernel_size",), "3b": ("schedule",),
}  # fmt: skip
"""The sweeps whose runs make a table; 3a and 3b are the two halves of Figure 3, which print no numbers."""
SETTINGS = {"2": "faster_rcnn 1x", "3": "mask_rcnn 1x"}
_OPERATORS = ("1", "2", "3")
SHARED = ("data.", "optim.", "train.", "detector.")
"""Sections that are the same in all rows of a table: data, optimisation and budget."""
OTHER_ORIGIN = "detector.origin (not known as the paper's pre-training)"
UNKNOWN = "a configuration of another version"
PAPER = "paper"

Place = tuple[str, str, str]  # backbone (empty but on the paper's protocol of Table 1), row label, setting


@dataclass
class Pool:
    """`data` is `PAPER` on the paper's protocol, else what the runs were trained on and how long.

    `changes` are the fields in which runs of a recipe that reproduces the table are not on its protocol, in their
    order; none on the protocol, and none of a recipe that cannot reproduce.
    """

    table: str
    data: str
    sweeps: list[SweepLayout] = field(default_factory=list)
    frames: list[pd.DataFrame] = field(default_factory=list)
    groups: dict[Place, str] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: dict[str, None] = field(default_factory=dict)
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
        configs = sources.configs(frame)
        changes = _changes(table, sweep, frame, configs)
        data = PAPER if changes == [] else _named(sweep)
        pool = found.setdefault(data, Pool(table, data))
        pool.configs |= configs
        pool.changes |= dict.fromkeys(changes or ())
        pool.sweeps.append(sweep)
        pool.frames.append(frame)
        _add(pool, sweep, frame, configs, sources, select)
    return sorted(found.values(), key=lambda pool: pool.data != PAPER)


def _named(sweep: SweepLayout) -> str:
    return f"{sweep.data} ({sweep.recipe}, {'SMOKE, ' if sweep.smoke else ''}{sweep.budget})"


def _changes(
    table: str, sweep: SweepLayout, frame: pd.DataFrame, configs: Mapping[str, Mapping[str, Any]]
) -> list[str] | None:
    """Where the runs optimise other than the recipe that reproduces this table: `train.precision=bf16-mixed`, ...

    None where no recipe does. A run in a printed row is compared whole with that row's own configuration, so that a
    printed number meets no other; any other run in what all rows share (`SHARED`).
    """
    recipe = RECIPES.get(sweep.recipe)
    if recipe is None or recipe.reproduces is None or sweep.smoke:
        return None
    if table.isdigit() and recipe.reproduces[0] != published.BASES[int(table)]:
        return None
    rows = published.of_table(int(table)) if table.isdigit() else {}
    found: dict[str, None] = {}
    for _, row in frame.drop_duplicates("group_id").iterrows():
        if row["group_id"] not in configs:
            continue
        place = _place(table, sweep, row, configs)
        printed = place is not None and (recipe.reproduces[1], *place) in rows
        try:
            config = from_dict(configs[row["group_id"]])
            if place is not None and printed:
                changes = protocol.differences(config, published.configuration(recipe, int(table), *place))
            else:
                papers = lengthen(recipe.config(), int(row["schedule"]) if "schedule" in sweep.axes else 1)
                changes = protocol.differences(config, papers)
                changes.pop("detector.origin", None)  # each operator starts from its own classifier
                changes = {path: text for path, text in changes.items() if path.startswith(SHARED)}
        except UserError:
            return [UNKNOWN]
        if "detector.origin" in changes:
            changes["detector.origin"] = OTHER_ORIGIN
        found |= dict.fromkeys(changes.values())
    return list(found)


def _add(
    pool: Pool, sweep: SweepLayout, frame: pd.DataFrame, configs: Mapping[str, Any], sources: Collection, select: str
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
            both = " and ".join(_told_apart(pool.groups[key], group, pool.configs))
            raise UserError(
                f"Table {pool.table}: {' '.join(part for part in key if part)} has two configurations ({both}); give "
                "their sweeps one by one"
            )
        for metric, runs in rows.groupby("metric", sort=False):
            pool.values.setdefault(key, {}).setdefault(metric, {}).update(seed_values(runs, select))


def _told_apart(first: str, second: str, configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Each of two groups, where their configurations are known with what it has other than the other."""
    for group, other in ((first, second), (second, first)):
        found: list[str] = []
        with contextlib.suppress(UserError, KeyError):
            pair = (from_dict(configs[group]), from_dict(configs[other]))
            found = list(protocol.differences(*pair, canonical).values())
        yield f"{group} with {', '.join(found)}" if found else group


def _add_curves(pool: Pool, key: Place, rows: pd.DataFrame, sweep: SweepLayout, sources: Collection) -> None:
    """Fig. 3 (b): the metric after each epoch, on the validation draw where the test draw is kept for the end."""
    done = rows[(rows["metric"] == sweep.metric) & (rows["state"] == "finished")]
    for seed, cell in zip(done["seed"], done["cell_id"], strict=True):
        curve = sources.curve(cell, registry.validation_name(sweep.metric)) or sources.curve(cell, sweep.metric)
        for epoch, value in curve.values():
            place = (*key[:2], f"epoch {epoch}")
            pool.groups.setdefault(place, str(rows["group_id"].iloc[0]))
            pool.values.setdefault(place, {}).setdefault(sweep.metric, {})[int(seed)] = value


def _place(
    table: str, sweep: SweepLayout, row: pd.Series, configs: Mapping[str, Mapping[str, Any]]
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
