"""The cells of a sweep: rows times axes times seeds, changed by `--smoke` and `--set`. Nothing here imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ablations.engine.sweep import Cell, Sweep, recipes_for
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, set_value
from lightning_xvol.config.smoke import smoke as with_smoke_budget
from lightning_xvol.errors import UserError, nearest


def make_cells(
    sweep: Sweep,
    recipe: Recipe,
    seeds: int | Iterable[int],
    settings: Sequence[tuple[str, str]] = (),
    smoke: bool = False,
) -> list[Cell]:
    """The cells of `sweep` at `seeds`: rows first, then axes, then seeds.

    Args:
        sweep: The sweep.
        recipe: The recipe that every cell starts from.
        seeds: The seeds, or their number for the seeds 0, 1, 2, ...
        settings: The pairs of `--set`. Each `operator.name` adds a row. `ROW:PATH` sets the field in this row alone.
        smoke: Whether the budget is that of `--smoke`.

    Raises:
        UserError: for a recipe that the sweep does not run on, or a field or a value that does not exist.
    """
    if recipe.name not in recipes_for(sweep):
        known = ", ".join(recipes_for(sweep))
        raise UserError(f"sweep {sweep.name!r} does not run on recipe {recipe.name!r}; it runs on: {known}")
    shared, own = _by_row([pair for pair in settings if pair[0] != "operator.name"])
    extra = _further_rows([value for path, value in settings if path == "operator.name"])
    chosen = range(seeds) if isinstance(seeds, int) else tuple(seeds)
    cells = []
    varied: dict[str, list[RunConfig]] = {row: [] for row in sweep.rows}
    rows = [*sweep.rows, *(label for label in extra if label not in sweep.rows)]
    for row in rows:
        changes = [*shared, *own.get(row, [])]
        for values in itertools.product(*sweep.axes.values()):
            axes = dict(zip(sweep.axes, values, strict=True))
            if row in sweep.rows:
                config = sweep.place(recipe, sweep.configure(recipe, row, **axes), **axes)
                varied[row].append(config)
            else:
                config = sweep.place(recipe, _configure_extra(recipe, extra[row], axes), **axes)
            config = with_smoke_budget(config, [path for path, _ in changes]) if smoke else config
            config = _apply(config, changes)
            for seed in chosen:
                cells.append(Cell(row, axes, resolve(set_value(config, "seed", seed))))
    _check_settings(shared, cells, varied)
    _check_row_settings(own, cells, sweep, varied)
    return cells


def _by_row(settings: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], dict[str, list[tuple[str, str]]]]:
    """The settings of all rows, and those of single rows, whose paths begin with the row and a colon."""
    shared: list[tuple[str, str]] = []
    own: dict[str, list[tuple[str, str]]] = {}
    for path, value in settings:
        row, colon, field = path.rpartition(":")
        if colon:
            own.setdefault(row, []).append((field, value))
        else:
            shared.append((path, value))
    return shared, own


def _further_rows(names: Sequence[str]) -> dict[str, str]:
    """The operators of `--set operator.name=` by the labels of their rows.

    Raises:
        UserError: for an unknown name, or two classes whose rows would have the same label.
    """
    rows: dict[str, str] = {}
    for name in names:
        registry.lookup("operator", name)
        label = name.rsplit(":", 1)[-1]
        if rows.setdefault(label, name) != name:
            raise UserError(f"--set operator.name={name} and {rows[label]} would both be the row {label!r}; choose one")
    return rows


def _configure_extra(recipe: Recipe, name: str, axes: Mapping[str, Any]) -> RunConfig:
    """The configuration of an operator that the command line names. It takes the axes that are options of it.

    The options of a class from elsewhere are not known. It takes the axes that are options of any registered operator.
    """
    known = [registry.OPERATORS[name]] if name in registry.OPERATORS else registry.OPERATORS.values()
    options = {option for operator in known for option in operator.options}
    return recipe.config(name, **{axis: value for axis, value in axes.items() if axis in options})


def _apply(config: RunConfig, settings: Sequence[tuple[str, str]]) -> RunConfig:
    for path, value in settings:
        if path == "seed":
            raise UserError(
                "--set seed is not possible in a sweep; choose seeds with --seeds N, --first-seed N or --only seed=0,1"
            )
        if _concerns(path, config):
            config = set_value(config, path, value)
    return config


def _concerns(path: str, config: RunConfig) -> bool:
    """Whether `--set PATH=` changes `config`: an operator's option changes only the rows whose operator has it."""
    root, _, option = path.partition(".")
    known = registry.OPERATORS.get(config.operator.name)
    return root != "operator" or known is None or option.removeprefix("options.") in known.options


def _check_settings(
    settings: Sequence[tuple[str, str]], cells: Sequence[Cell], varied: Mapping[str, Sequence[RunConfig]]
) -> None:
    """Refuse a setting that would undo what the sweep varies, or that no cell has."""
    for path, value in settings:
        if any(len({repr(_current(config, path)) for config in row}) > 1 for row in varied.values()):
            raise UserError(f"--set {path} would override what the axes of this sweep vary; choose values with --only")
        if len({repr(_current(row[0], path)) for row in varied.values() if _concerns(path, row[0])}) > 1:
            # A control would become what it controls.
            raise UserError(
                f"--set {path} would override a value that tells the rows of this sweep apart; choose rows with --only "
                "operator=, or use a sweep whose rows all have the same value"
            )
        if not any(_concerns(path, cell.config) for cell in cells):
            set_value(cells[-1].config, path, value)  # raises, with the nearest option


def _check_row_settings(
    own: Mapping[str, Sequence[tuple[str, str]]],
    cells: Sequence[Cell],
    sweep: Sweep,
    varied: Mapping[str, Sequence[RunConfig]],
) -> None:
    """Check that the settings of single rows change the optimizer alone, and a row and its controls in the same way.

    Otherwise a difference between rows would have two causes.

    Raises:
        UserError: for an unknown row, a field outside `optim`, or a row whose control has another optimizer.
    """
    rows = list(dict.fromkeys(cell.row for cell in cells))
    for row, settings in own.items():
        first = settings[0][0]
        if row not in rows:
            raise UserError(f"--set {row}:{first}: no row {row!r}{nearest(row, rows)}; rows: {', '.join(rows)}")
        for path, _ in settings:
            if not path.startswith("optim."):
                raise UserError(
                    f"--set {row}:{path}: rows may differ in fields of optim alone, because a table compares them on "
                    f"the same data and budget; --set {path} sets all rows"
                )
        alike = next(iter(varied.values()))  # a row that `--set` adds has the axes of the others
        _check_settings(settings, cells, {row: varied.get(row, alike)})
    optim = {cell.row: cell.config.optim for cell in cells} if own else {}
    for row, controls in sweep.controls.items():
        for control in controls:
            if optim.get(row) != optim.get(control):
                raise UserError(
                    f"--set {row if row in own else control}:optim: {row} and its control {control} must have the same "
                    "optimizer; set the field in both rows"
                )


def _current(config: RunConfig, path: str) -> Any:
    root, _, name = path.partition(".")
    section = getattr(config, root, None)
    options = getattr(section, "options", {})
    return options.get(name.removeprefix("options."), getattr(section, name, None))
