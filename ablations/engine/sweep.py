"""A sweep: a recipe, rows, axes and seeds, which multiply to cells. Nothing here imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_xvol.config import registry
from lightning_xvol.config.recipes import RECIPES, Recipe
from lightning_xvol.config.resolved import Resolved, resolve
from lightning_xvol.config.schema import RunConfig, set_value
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger.record import cell_folder

Configure = Callable[..., RunConfig]  # (recipe, row label, **axes) -> RunConfig
Place = Callable[..., RunConfig]  # (recipe, config, **axes) -> RunConfig

SMOKE = {"data.limit": 256, "train.steps": 20, "train.checkpoint_every": 5}
SMOKE_BATCH = 32
ON_IMAGES = ("classification", "detection", "segmentation")
"""The tasks of a sweep that the paper has, or could have, on ImageNet and on COCO."""


def stay(recipe: Recipe, config: RunConfig, **axes: Any) -> RunConfig:  # noqa: ARG001
    """The `place` of a sweep whose axes are options of the operator."""
    return config


@dataclass(frozen=True)
class Sweep:
    """What varies, and how the result is shown.

    `rows` are the row labels, each unique (a registry name plus what varies), with how tables call them; `axes`
    are the columns; without axes the columns are what runs cost. `configure(recipe, row, **axes)` gives the
    configuration of a cell, and `place(recipe, config, **axes)` changes in it what lies outside the operator (stages,
    budget), for operators that the command line adds too. Entries of equal configurations share a cell.

    Differences are taken to the row `baseline` at the same axes. `controls` maps a row to those that a claim about it
    has to beat. `figure` is one of `analysis.figures.kinds` and `figure_x` what runs along it: an axis, or `params`,
    `macs`, `wall_seconds`. Below the scores of a table with axes stand `cost_rows`. `paper` holds the values of axes
    that the paper chose, which tables and figures mark, and `note` is a footnote. `readings` are other ways to read the
    experiment, each a sweep, chosen by `--reading`. It runs on the recipes for `tasks`, or on `recipes` alone; the task
    says which metrics are shown (`registry.METRICS`).
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
    readings: Mapping[str, Sweep] = field(default_factory=dict)
    recipe: str = "match_small"
    tasks: tuple[str, ...] = ("classification",)
    recipes: tuple[str, ...] = ()


def text(value: Any) -> str:
    """How names and `--only` write a value of an axis: a list as `1+3+5`, as a comma separates values there."""
    return "+".join(map(text, value)) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: its row label, its place on the axes, and its resolved configuration."""

    row: str
    axes: Mapping[str, Any]
    config: Resolved

    @property
    def id(self) -> str:
        return self.config.cell_id

    @property
    def group(self) -> str:
        return self.config.group_id

    @property
    def name(self) -> str:
        """How progress and messages call it, for example `xvolution kernel_size=3 seed=0`."""
        axes = (f"{axis}={text(value)}" for axis, value in self.axes.items())
        return " ".join([self.row, *axes, f"seed={self.config.seed}"])

    def folder(self, out: Path) -> Path:
        return cell_folder(out, self.id)


@dataclass(frozen=True)
class Selection:
    """What a command line asks of a sweep."""

    seeds: int
    settings: Sequence[tuple[str, str]] = ()
    smoke: bool = False


def recipes_for(sweep: Sweep) -> tuple[str, ...]:
    """The names of the recipes that `sweep` can run on."""
    return sweep.recipes or tuple(name for name, recipe in RECIPES.items() if recipe.task in sweep.tasks)


def make_cells(sweep: Sweep, recipe: Recipe, selection: Selection) -> list[Cell]:
    """The cells of `sweep`, rows first, then axes, then seeds, with `--smoke` and `--set` put in.

    Raises:
        UserError: for a field or a value that does not exist.
    """
    if recipe.name not in recipes_for(sweep):
        known = ", ".join(recipes_for(sweep))
        raise UserError(f"sweep {sweep.name!r} does not run on recipe {recipe.name!r}; it runs on: {known}")
    settings = [(path, value) for path, value in selection.settings if path != "operator.name"]
    extra = {_row_label(value): value for path, value in selection.settings if path == "operator.name"}
    cells = []
    varied: dict[str, list[RunConfig]] = {row: [] for row in sweep.rows}
    for row in [*sweep.rows, *(label for label in extra if label not in sweep.rows)]:
        for values in itertools.product(*sweep.axes.values()):
            axes = dict(zip(sweep.axes, values, strict=True))
            if row in sweep.rows:
                config = sweep.place(recipe, sweep.configure(recipe, row, **axes), **axes)
                varied[row].append(config)
            else:
                config = sweep.place(recipe, _configure_extra(recipe, extra[row], axes), **axes)
            config = _smoke(config) if selection.smoke else config
            config = _apply(config, settings)
            for seed in range(selection.seeds):
                cells.append(Cell(row, axes, resolve(set_value(config, "seed", seed))))
    _check_settings(settings, cells, varied)
    return cells


def _row_label(name: str) -> str:
    registry.lookup("operator", name)
    return name.rsplit(":", 1)[-1]


def _configure_extra(recipe: Recipe, name: str, axes: Mapping[str, Any]) -> RunConfig:
    """An operator named on the command line has a row of its own and takes the axes that are options of it.

    What options a class from elsewhere has is not known; it gets the axes that are options of any operator of ours.
    """
    entries = [registry.OPERATORS[name]] if name in registry.OPERATORS else registry.OPERATORS.values()
    options = {option for entry in entries for option in entry.options}
    return recipe.config(name, **{axis: value for axis, value in axes.items() if axis in options})


def _apply(config: RunConfig, settings: Sequence[tuple[str, str]]) -> RunConfig:
    for path, value in settings:
        if path == "seed":
            raise UserError("--set seed is the sweep's own: choose seeds with --seeds N or --only seed=0,1")
        if _concerns(path, config):
            config = set_value(config, path, value)
    return config


def _concerns(path: str, config: RunConfig) -> bool:
    """An operator's option concerns the rows whose operator has it: heads, say, but not the convolution beside them."""
    root, _, option = path.partition(".")
    known = registry.OPERATORS.get(config.operator.name)
    return root != "operator" or known is None or option.removeprefix("options.") in known.options


def _check_settings(
    settings: Sequence[tuple[str, str]], cells: Sequence[Cell], varied: Mapping[str, Sequence[RunConfig]]
) -> None:
    for path, value in settings:
        if any(len({repr(_current(config, path)) for config in row}) > 1 for row in varied.values()):
            raise UserError(f"--set {path} would override what the axes of this sweep vary; choose values with --only")
        if len({repr(_current(row[0], path)) for row in varied.values() if _concerns(path, row[0])}) > 1:
            # A control would become what it controls.
            raise UserError(
                f"--set {path} would override what tells the rows of this sweep apart; choose rows with --only "
                "operator=, or set it in a sweep whose rows do not differ in it"
            )
        if not any(_concerns(path, cell.config) for cell in cells):
            set_value(cells[-1].config, path, value)  # raises, with the nearest option


def _current(config: RunConfig, path: str) -> Any:
    root, _, name = path.partition(".")
    section = getattr(config, root, None)
    options = getattr(section, "options", {})
    return options.get(name.removeprefix("options."), getattr(section, name, None))


def _smoke(config: RunConfig) -> RunConfig:
    for path, value in SMOKE.items():
        config = set_value(config, path, value)
    return set_value(config, "data.batch_size", min(config.data.batch_size, SMOKE_BATCH))


def select(cells: Sequence[Cell], only: Mapping[str, Sequence[str]]) -> list[Cell]:
    """The cells that `--only KEY=V1,V2` names; keys are `operator`, the axes and `seed`.

    Raises:
        UserError: for an unknown key, a value that no cell has, or where nothing is left.
    """
    chosen = list(cells)
    for key, values in only.items():
        present = {_value(cell, key) for cell in cells}
        for value in values:
            if value not in present:
                raise UserError(
                    f"--only {key}={value} selects nothing{nearest(value, present)}; "
                    f"values: {', '.join(sorted(present))}"
                )
        chosen = [cell for cell in chosen if _value(cell, key) in values]
    if not chosen:
        asked = " ".join(f"{key}={','.join(values)}" for key, values in only.items())
        raise UserError(f"--only {asked} selects no cell; --dry-run without it lists them")
    return chosen


def _value(cell: Cell, key: str) -> str:
    values = {"operator": cell.row, **cell.axes, "seed": cell.config.seed}
    if key not in values:
        raise UserError(f"--only {key}: no such key{nearest(key, values)}; keys: {', '.join(values)}")
    return text(values[key])
