"""The numbers that the paper prints (`published.csv`), and the configurations of ours that they belong to.

A recipe declares the table that it `reproduces`. A printed number is shown beside a run only if the run optimises what
such a recipe makes for that row (`analysis.paper.protocol`). Seed and compute settings do not matter: a run on 8
processes has the printed number, a run with another budget, other data or another operator does not.
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
from lightning_xvol.ledger import files
from lightning_xvol.ledger.origins import with_papers_origin

BASES = {1: "1", 2: "2", 3: "3", 4: "2", 6: "2"}
"""Each table to the table whose protocol it shares, as recipes declare it: Tables 4 and 6 vary that of Table 2."""
BASE_EPOCHS = 12  # of the schedule 1x, Table 7
WITHOUT_POSITION, WITH_POSITION = "no position encoding", "relative position encoding"


@dataclass(frozen=True)
class Printed:
    """A printed number.

    Attributes:
        table, backbone, setting, metric: The row and the column in which the paper prints it.
        operator, label: The name of the row in the paper, and our row label.
        value: The number.
        bold: Whether it is printed in bold.
    """

    table: int
    backbone: str
    operator: str
    setting: str
    metric: str
    value: float
    label: str
    bold: bool

    @property
    def row(self) -> tuple[str, str, str]:
        """The printed row of the number: backbone, row label, setting."""
        return self.backbone, self.label, self.setting


@functools.cache
def printed() -> tuple[Printed, ...]:
    """Every printed number, in the order of the paper. The slip in Table 7 is corrected (see its `SLIP`)."""
    with files.open_text(Path(__file__).with_name("published.csv"), newline="") as file:
        return tuple(
            Printed(
                int(row["table"]), row["backbone"], row["operator"], row["setting"], row["metric"],
                float(row["value"]), row["label"], row["bold"] == "1",
            )
            for row in csv.DictReader(file)
        )  # fmt: skip


def of_table(table: int) -> dict[tuple[str, str, str], dict[str, Printed]]:
    """The rows of a table and their numbers by metric, in the printed order."""
    rows: dict[tuple[str, str, str], dict[str, Printed]] = {}
    for number in printed():
        if number.table == table:
            rows.setdefault(number.row, {})[number.metric] = number
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
                except UserError:  # the recipe does not know the operator
                    continue
                numbers |= {(identity, metric): number.value for metric, number in row.items()}
    return numbers


def configuration(recipe: Recipe, table: int, label: str, setting: str) -> RunConfig:
    """The configuration that `recipe` makes for a row of `table`.

    Raises:
        UserError: where the recipe does not know the operator.
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
