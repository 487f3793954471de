"""Our runs for the rows that the paper prints: a pool of runs for each table, data set and budget.

Sweeps are joined by fingerprint: a configuration that `stage` and `operator` share is one row. Two configurations for
the same row are an error, even if they differ only in how they were computed. Whether runs are on the paper's protocol
does not depend on how they were computed (`analysis.paper.protocol`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.paper import protocol, published
from analysis.sources.collection import Collection
from analysis.sources.data import check_same
from analysis.sources.frame import SweepLayout
from analysis.sources.samples import estimates_of
from analysis.statistics import Estimate
from lightning_xvol.config import registry
from lightning_xvol.config.metrics import validation_name
from lightning_xvol.config.recipes import RECIPES, lengthen
from lightning_xvol.config.resolved import canonical
from lightning_xvol.config.schema import from_record
from lightning_xvol.errors import UserError

SWEEPS = {
    "1": ("operator", "stage"), "2": ("operator",), "3": ("operator",), "4": ("position_encoding",),
    "6": ("schedule",), "3a": ("kernel_size",), "3b": ("schedule",),
}  # fmt: skip
"""The sweeps with the runs of each table. 3a and 3b are the two halves of Figure 3, which prints no numbers."""
_AXES = {"6": ("schedule",), "3b": ("schedule",), "3a": ("kernel_size",)}
"""The axes that tell the rows of a table apart."""
SETTINGS = {"2": "faster_rcnn 1x", "3": "mask_rcnn 1x"}
_OPERATORS = ("1", "2", "3")
SHARED = ("data.", "optim.", "train.", "detector.")
"""The fields that all rows of a table share: data, optimisation and budget."""
OTHER_ORIGIN = "detector.origin (not known as the paper's pre-training)"
UNKNOWN = "a configuration of another version"
PAPER = "paper"

RowKey = tuple[str, str, str]
"""The row of a pool: backbone (empty except in Table 1 on the paper's protocol), row label, setting."""


@dataclass
class Pool:
    """Our runs for one table of the paper, on one data set and budget.

    Attributes:
        table: The table: `1` to `6`, or `3a` and `3b` for Figure 3.
        data: `PAPER` on the paper's protocol, else a name of data, recipe and budget.
        sweeps, frames: The sweeps with these runs, and the frame of each.
        groups: Maps a row to the id of its group.
        configs: Maps a group id to its recorded configuration.
        results: Maps a group id to one of its records.
        changes: The fields in which the runs leave the protocol, for a recipe that can reproduce the table.
        values: Maps row, metric and seed to the value of the run.
        samples: Maps metric and epoch (none but in Figure 3 (b)) to the values by seed of every group of the sweeps,
            also of those without a row here: their variances are pooled.
        images: Maps a group id to the number of test images.
        runs: Maps a group id to the state of each of its runs by cell.
    """

    table: str
    data: str
    sweeps: list[SweepLayout] = field(default_factory=list)
    frames: list[pd.DataFrame] = field(default_factory=list)
    groups: dict[RowKey, str] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: dict[str, None] = field(default_factory=dict)
    values: dict[RowKey, dict[str, dict[int, float]]] = field(default_factory=dict)
    samples: dict[tuple[str, str], dict[str, dict[int, float]]] = field(default_factory=dict)
    images: dict[str, int | None] = field(default_factory=dict)
    runs: dict[str, dict[str, str]] = field(default_factory=dict)
    _estimates: dict[tuple[str, str], dict[str, Estimate]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(metric for row in self.values.values() for metric in row))

    def seeds(self, row: RowKey, metric: str) -> Mapping[int, float]:
        """Maps a seed to the value of its finished run. It is empty if no run of the row has finished."""
        return self.values.get(row, {}).get(metric, {})

    def estimate(self, row: RowKey, metric: str) -> Estimate:
        """The mean of a row, with the variances of all rows pooled; `n` is 0 where no run of it has finished."""
        if not self.seeds(row, metric):
            return Estimate(0)
        family = (metric, _epoch_of(row))
        if family not in self._estimates:
            samples = {group: values.values() for group, values in self.samples[family].items()}
            images = self.images if not family[1] else dict.fromkeys(samples)
            self._estimates[family] = estimates_of(samples, images, metric)[0]
        return self._estimates[family][self.groups[row]]

    def network(self, row: RowKey) -> str:
        """The label of the network that the runs of `row` trained; empty where it is not known."""
        backbone = self.configs.get(self.groups.get(row, ""), {}).get("backbone")
        with contextlib.suppress(UserError, TypeError, KeyError):
            return registry.label("backbone", backbone["name"]) if backbone else ""
        return ""

    def losses(self, row: RowKey) -> str:
        """`3 of 5 diverged, 1 missing`; empty where all runs of `row` have finished."""
        states = list(self.runs.get(self.groups.get(row, ""), {}).values())
        counts = {"diverged": states.count("diverged"), "missing": states.count("missing") + states.count("failed")}
        told = [f"{count} {state}" for state, count in counts.items() if count]
        if told:
            told[0] = told[0].replace(" ", f" of {len(states)} ", 1)
        return ", ".join(told)


def _epoch_of(row: RowKey) -> str:
    return row[2] if row[2].startswith("epoch ") else ""


def pools(sources: Collection, table: str, select: str = "last") -> list[Pool]:
    """The pools of a table; the pool on the paper's protocol comes first.

    Raises:
        UserError: where two configurations are the same row.
    """
    found: dict[str, Pool] = {}
    for sweep, frame in sources.variants(SWEEPS[table]):
        if table in _OPERATORS and sweep.reproduces and sweep.reproduces[0] != table:
            continue  # a recipe for Table 2 is not another data set for Table 1
        if table in ("2", "4", "6") and sweep.metric == "mask_ap":
            continue  # these tables are of Faster R-CNN
        if not _has_axes(table, sweep, frame):
            continue  # somebody else's sweep of the same name
        results = sources.results(frame)
        configs = {group: result["config"] for group, result in results.items()}
        changes = _changes(
            table, sweep, frame, configs, {group: result.get("data") for group, result in results.items()}
        )
        data = PAPER if changes == [] else _named(sweep)
        pool = found.setdefault(data, Pool(table, data))
        pool.configs |= configs
        pool.results |= results
        check_same(f"Table {table}", pool.results.values())
        pool.changes |= dict.fromkeys(changes or ())
        pool.sweeps.append(sweep)
        pool.frames.append(frame)
        _add(pool, sweep, frame, configs, sources, select)
    return sorted(found.values(), key=lambda pool: pool.data != PAPER)


def _has_axes(table: str, sweep: SweepLayout, frame: pd.DataFrame) -> bool:
    """Whether the sweep has the axes of the sweep of ours with its name, with whole numbers on that of schedules."""
    needed = (*_AXES.get(table, ()), *(("stages",) if sweep.name == "stage" else ()))
    whole = "schedule" not in sweep.axes or frame["schedule"].dtype == "int64"
    return whole and set(needed) <= set(sweep.axes)


def _named(sweep: SweepLayout) -> str:
    made = f"set by hand: {', '.join(sweep.set_by_hand)}" if sweep.set_by_hand else sweep.recipe
    return f"{sweep.data} ({made}, {'SMOKE, ' if sweep.smoke else ''}{sweep.budget})"


def _changes(
    table: str,
    sweep: SweepLayout,
    frame: pd.DataFrame,
    configs: Mapping[str, Mapping[str, Any]],
    contents: Mapping[str, Mapping[str, Any] | None],
) -> list[str] | None:
    """The settings in which runs differ from the recipe that reproduces this table: `train.precision=bf16-mixed`, ...

    None where no recipe reproduces it. A run in a printed row is compared with the whole configuration of that row, so
    that a printed number is beside no other configuration. Any other run is compared in the fields that all rows share
    (`SHARED`). Data that are not what they are called are a change too. `contents` holds the data of each group.
    """
    recipe = RECIPES.get(sweep.recipe)
    if recipe is None or recipe.reproduces is None or sweep.reproduces is None or sweep.smoke:
        return None
    if table.isdigit() and recipe.reproduces[0] != published.BASES[int(table)]:
        return None
    rows = published.of_table(int(table)) if table.isdigit() else {}
    found: dict[str, None] = {}
    for row in frame.drop_duplicates("group_id").to_dict("records"):
        if row["group_id"] not in configs:
            continue
        found_row = _label_and_setting(table, sweep, row, configs)
        printed = found_row is not None and (recipe.reproduces[1], *found_row) in rows
        try:
            config = from_record(configs[row["group_id"]])
            if found_row is not None and printed:
                changes = protocol.differences(config, published.configuration(recipe, int(table), *found_row))
            else:
                papers = lengthen(recipe.config(), int(row["schedule"]) if "schedule" in sweep.axes else 1)
                changes = protocol.differences(config, papers)
                changes.pop("detector.origin", None)  # each operator starts from its own classifier
                changes = {path: text for path, text in changes.items() if path.startswith(SHARED)}
            other = protocol.other_data(configs[row["group_id"]], contents[row["group_id"]])
        except UserError:
            return [UNKNOWN]
        if other is not None:
            changes["data"] = other
        if "detector.origin" in changes:
            changes["detector.origin"] = OTHER_ORIGIN
        found |= dict.fromkeys(changes.values())
    return list(found)


def _add(
    pool: Pool, sweep: SweepLayout, frame: pd.DataFrame, configs: Mapping[str, Any], sources: Collection, select: str
) -> None:
    # Only Table 1 has two backbones; elsewhere, and on other data, label and setting identify a row.
    backbone = sweep.reproduces[1] if pool.data == PAPER and pool.table == "1" else ""
    values = _values(frame, select)
    _add_samples(pool, frame, values)
    runs = frame.groupby("group_id", sort=False)
    for first in frame.drop_duplicates("group_id").to_dict("records"):
        group = first["group_id"]
        found = _label_and_setting(pool.table, sweep, first, configs)
        if found is None:
            continue
        key = (backbone, *found)
        if pool.table == "3b":
            _add_curves(pool, key, runs.get_group(group), sweep, sources)
            continue
        if pool.groups.setdefault(key, group) != group:
            both = " and ".join(_told_apart(pool.groups[key], group, pool.configs))
            raise UserError(
                f"Table {pool.table}: {' '.join(part for part in key if part)} has two configurations ({both}); give "
                "their sweeps one by one"
            )
        for metric, seeds in values[group].items():
            pool.values.setdefault(key, {}).setdefault(metric, {}).update(seeds)


def _values(frame: pd.DataFrame, select: str) -> dict[str, dict[str, dict[int, float]]]:
    """Maps each group, metric and seed to the value of the finished run."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    columns = (frame[name].tolist() for name in ("group_id", "metric", "seed", "state", select))
    for group, metric, seed, state, value in zip(*columns, strict=True):
        seeds = found.setdefault(group, {}).setdefault(metric, {})
        if state == "finished":
            seeds[int(seed)] = float(value)
    return found


def _add_samples(pool: Pool, frame: pd.DataFrame, values: Mapping[str, Mapping[str, Mapping[int, float]]]) -> None:
    """Add what the statistics take from each group, whether or not the table has its row."""
    for group, metrics in values.items():
        for metric, seeds in metrics.items():
            pool.samples.setdefault((metric, ""), {}).setdefault(group, {}).update(seeds)
    for group, images, cell, state in zip(
        *(frame[name].tolist() for name in ("group_id", "images", "cell_id", "state")), strict=True
    ):
        if pool.images.get(group) is None:
            pool.images[group] = None if pd.isna(images) else int(images)
        pool.runs.setdefault(group, {})[cell] = state


def _told_apart(first: str, second: str, configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A text for each of two groups: its id, and the settings in which it differs from the other if they are known."""
    for group, other in ((first, second), (second, first)):
        found: list[str] = []
        with contextlib.suppress(UserError, KeyError):
            pair = (from_record(configs[group]), from_record(configs[other]))
            found = list(protocol.differences(*pair, canonical).values())
        yield f"{group} with {', '.join(found)}" if found else group


def _add_curves(pool: Pool, key: RowKey, rows: pd.DataFrame, sweep: SweepLayout, sources: Collection) -> None:
    """Add the metric after each epoch (Fig. 3 (b)), measured on the validation split if there is a test split too."""
    done = rows[(rows["metric"] == sweep.metric) & (rows["state"] == "finished")]
    for seed, cell in zip(done["seed"], done["cell_id"], strict=True):
        curve = sources.curve(cell, validation_name(sweep.metric)) or sources.curve(cell, sweep.metric)
        for epoch, value in curve.values():
            row = (*key[:2], f"epoch {epoch}")
            group = pool.groups.setdefault(row, str(rows["group_id"].iloc[0]))
            pool.samples.setdefault((sweep.metric, row[2]), {}).setdefault(group, {})[int(seed)] = value
            pool.values.setdefault(row, {}).setdefault(sweep.metric, {})[int(seed)] = value


def _label_and_setting(
    table: str, sweep: SweepLayout, row: Mapping[Any, Any], configs: Mapping[str, Mapping[str, Any]]
) -> tuple[str, str] | None:
    """Label and setting of the row of a group; None where the table has no such row."""
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
