"""What a sweep is, and what one of its cells is. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_xvol.config.recipes import RECIPES, Recipe
from lightning_xvol.config.resolved import Resolved
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.ledger.record import cell_folder

Configure = Callable[..., RunConfig]  # (recipe, row, **axes) -> RunConfig
Place = Callable[..., RunConfig]  # (recipe, config, **axes) -> RunConfig

ON_IMAGES = ("classification", "detection", "segmentation")
"""The tasks of a sweep that the paper has, or could have, on ImageNet and on COCO."""


def stay(recipe: Recipe, config: RunConfig, **axes: Any) -> RunConfig:  # noqa: ARG001
    """The default `Sweep.place`: it changes nothing, because the axes are options of the operator."""
    return config


@dataclass(frozen=True)
class Sweep:
    """What varies in an experiment, and how its table and its figure show the result.

    The cells are all combinations of rows, axes and seeds. Two combinations with equal configurations share a cell.

    Attributes:
        name: The name of the sweep's module and of its folder in the ledger.
        title: A short title for tables and lists.
        reproduces: The part of the paper that the sweep reproduces, for example `Table 1`.
        rows: The rows and their labels in tables. A row is a registered operator plus what varies in it.
        configure: `configure(recipe, row, **axes)` returns the configuration of a row at one combination of the axes.
        baseline: The row that differences are taken to, at the same axes.
        axes: The values of each axis. They are the columns of the table; without axes the costs are its columns.
        place: `place(recipe, config, **axes)` changes what an axis varies outside the operator, such as the stages or
            the budget. Operators that `--set operator.name=` adds pass through it too.
        controls: For a row, the rows that a claim about it has to beat.
        figure: A kind of figure, one of `analysis.figures.kinds`.
        figure_x: What runs along the figure's x axis: an axis, or `params`, `macs`, `wall_seconds`.
        cost_rows: The costs below the scores of a table with axes.
        axis_labels: Labels of axes, where the name of the axis is not enough.
        paper: The values of axes that the paper chose. Tables and figures mark them.
        note: A footnote of the table.
        on_validation: Whether the table shows the metric of the validation split even if the data have a test split,
            because the result chooses something.
        readings: Other ways to read the experiment, each a sweep. `--reading` chooses one.
        recipe: The default recipe.
        tasks: The tasks that the sweep makes sense for. A recipe's task says which metrics are shown.
        recipes: The only recipes that the sweep runs on. Without them it runs on every recipe for its tasks.
    """

    name: str
    title: str
    reproduces: str
    rows: Mapping[str, str]
    configure: Configure
    baseline: str
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    place: Place = stay
    controls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    figure: str = "lines"
    figure_x: str | None = None
    cost_rows: tuple[str, ...] = ("params",)
    axis_labels: Mapping[str, str] = field(default_factory=dict)
    paper: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    on_validation: bool = False
    readings: Mapping[str, Sweep] = field(default_factory=dict)
    recipe: str = "match_small"
    tasks: tuple[str, ...] = ("classification",)
    recipes: tuple[str, ...] = ()


def recipes_for(sweep: Sweep) -> tuple[str, ...]:
    """The names of the recipes that `sweep` can run on."""
    return sweep.recipes or tuple(name for name, recipe in RECIPES.items() if recipe.task in sweep.tasks)


def text(value: Any) -> str:
    """A value of an axis as names and `--only` write it: a list as `1+3+5`, since a comma separates values there."""
    return "+".join(map(text, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: its row, its values of the axes, and its resolved configuration."""

    row: str
    axes: Mapping[str, Any]
    config: Resolved

    @property
    def id(self) -> str:
        return self.config.cell_id

    @property
    def group(self) -> str:
        """The id that the cell shares with the same configuration at other seeds."""
        return self.config.group_id

    @property
    def name(self) -> str:
        """The cell in progress and messages, for example `xvolution kernel_size=3 seed=0`."""
        return f"{self.place} seed={self.config.seed}"

    @property
    def place(self) -> str:
        """The name without the seed, for example `xvolution kernel_size=3`."""
        return " ".join([self.row, *(f"{axis}={text(value)}" for axis, value in self.axes.items())])

    def folder(self, out: Path) -> Path:
        return cell_folder(out, self.id)
