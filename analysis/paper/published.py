"""The numbers that the paper prints (`published.csv`), and which runs of ours they belong to.

A printed number stands beside a run only where the run optimises what a recipe makes for that row of that table, seed
and compute settings aside: the recipe declares what it `reproduces`, and `analysis.paper.protocol` decides, so that
another budget, other data or another operator of the same name never meets it, and a run on 8 processes does.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

from analysis.paper import protocol
from lightning_xvol.config.recipes import RECIPES, Recipe, lengthen
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.origins import with_papers_origin

BASES = {1: "1", 2: "2", 3: "3", 4: "2", 6: "2"}
"""The table that a recipe declares whose protocol a table shares: 4 and 6 vary that of Table 2."""
BASE_EPOCHS = 12  # of the schedule 1x, Table 7
WITHOUT_POSITION, WITH_POSITION = "no position encoding", "relative position encoding"


@dataclass(frozen=True)
class Printed:
    """A printed number: `operator` as the paper calls it, `label` as our rows do, `bold` as printed."""

    table: int
    backbone: str
    operator: str
    setting: str
    metric: str
    value: float
    label: str
    bold: bool

    @property
    def place(self) -> tuple[str, str, str]:
        """The row in which it stands."""
        return self.backbone, self.label, self.setting


@functools.cache
def printed() -> tuple[Printed, ...]:
    """Every printed number, in the order of the paper; that of Table 7 with its slip mended (`SLIP`)."""
    with Path(__file__).with_name("published.csv").open(newline="") as file:
        return tuple(
            Printed(
                int(row["table"]), row["backbone"], row["operator"], row["setting"], row["metric"],
                float(row["value"]), row["label"], row["bold"] == "1",
            )
            for row in csv.DictReader(file)
        )  # fmt: skip


def of_table(table: int) -> dict[tuple[str, str, str], dict[str, Printed]]:
    """The rows of a table, each with its numbers by metric, as printed from top to bottom and left to right."""
    rows: dict[tuple[str, str, str], dict[str, Printed]] = {}
    for number in printed():
        if number.table == table:
            rows.setdefault(number.place, {})[number.metric] = number
    return rows


@functools.cache
def values() -> dict[tuple[str, str], float]:
    """(`protocol.identity`, metric) -> the printed number, for every row that a recipe can make."""
    numbers: dict[tuple[str, str], float] = {}
    for table in BASES:
        for (backbone, label, setting), row in of_table(table).items():
            for recipe in RECIPES.values():
                if recipe.reproduces is None or recipe.reproduces[:2] != (BASES[table], backbone):
                    continue
                try:
                    identity = protocol.identity(configuration(recipe, table, label, setting))
                except UserError:  # a recipe that knows no such operator
                    continue
                numbers |= {(identity, metric): number.value for metric, number in row.items()}
    return numbers


def configuration(recipe: Recipe, table: int, label: str, setting: str) -> RunConfig:
    """What `recipe` makes for a row of `table`.

    Raises:
        UserError: for a recipe that knows no such operator.
    """
    options = {"position_encoding": True} if setting == WITH_POSITION else {}
    config = with_papers_origin(recipe.config(label, **options))
    if table == 1 and setting:
        stages = (int(setting.removeprefix("stage")),)
        return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, stages=stages))
    if table == 6:
        return lengthen(config, epochs_of(setting) // BASE_EPOCHS)
    return config


def epochs_of(setting: str) -> int:
    """12 for Table 6's "12 epochs"."""
    return int(setting.split()[0])
