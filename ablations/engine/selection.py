"""The cells that a user asks for: by the options of the sweep, by `--only` and by `--cell`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from ablations.engine.cells import make_cells
from ablations.engine.options import Options
from ablations.engine.stored import stored_paths
from ablations.engine.sweep import Cell, Sweep, text
from lightning_xvol.commandline import row_named
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import Recipe, get_recipe
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger.origins import with_origin
from lightning_xvol.ledger.spellings import as_begun


def recipe_of(sweep: Sweep, options: Options) -> Recipe:
    return get_recipe(options.recipe or sweep.recipe)


def cells_of(sweep: Sweep, options: Options) -> list[Cell]:
    """The cells of `sweep` under `options`, before a selection.

    With `--backbone-from` every selected cell must find its classification run. Other cells without one are left out,
    because they have no identity yet. Cells whose runs an older version began under another id keep that id. `--cell`
    may name a cell of the ledger whose classes no flag names; then the cells have these classes.

    Raises:
        UserError: for a selected cell without a classification run, also where `--cell` may name one, and for an import
            path in a ledger that is not trusted.
    """
    cells = _make(sweep, options)
    if options.cell is None or _matching(cells, options.cell, options.seed):
        return cells
    stored = stored_paths(options.folder, options.cell, options.trust)
    return _make(sweep, dataclasses.replace(options, settings=[*options.settings, *stored])) if stored else cells


def _make(sweep: Sweep, options: Options) -> list[Cell]:
    cells = _with_origins(sweep, options)
    configs = as_begun([cell.config for cell in cells], options.folder)
    return [dataclasses.replace(cell, config=config) for cell, config in zip(cells, configs, strict=True)]


def _with_origins(sweep: Sweep, options: Options) -> list[Cell]:
    recipe = recipe_of(sweep, options)
    seeds = {*range(options.first_seed, options.first_seed + (options.seeds or recipe.seeds)), options.seed} - {None}
    cells = make_cells(sweep, recipe, sorted(seeds), options.changes(), options.smoke)
    if options.backbone_from is None:
        return [dataclasses.replace(cell, config=with_origin(cell.config, None)) for cell in cells]
    needed = {id(cell) for cell in (select(cells, options.only) if options.cell is None else ())}
    started, missing = [], []
    for cell in cells:
        try:
            started.append(dataclasses.replace(cell, config=with_origin(cell.config, options.backbone_from)))
        except UserError as error:
            if id(cell) in needed:
                raise
            missing.append(error)
    if missing and options.cell is not None and not _matching(started, options.cell, options.seed):
        raise UserError(
            f"--cell {options.cell!r} names none of the {len(started)} cells whose classification run is finished; "
            f"{len(missing)} other cells have none, for example: {missing[0]}"
        )
    return started


def choose(cells: Sequence[Cell], options: Options) -> list[Cell]:
    """The cells of `cells` that `--only` and `--cell` leave.

    Raises:
        UserError: where they leave none, or `--cell` does not name exactly one.
    """
    if options.seed is not None and options.cell is None:
        raise UserError(f"--seed {options.seed} goes with --cell GROUP; choose seeds with --seeds N or --only seed=0,1")
    chosen = select(cells, options.only)
    return chosen if options.cell is None else [find_cell(chosen, options.cell, options.seed)]


def select(cells: Sequence[Cell], only: Mapping[str, Sequence[str]]) -> list[Cell]:
    """The cells that `--only KEY=V1,V2` names. Keys are `operator`, the axes and `seed`.

    Raises:
        UserError: for an unknown key, a value that no cell has, or where nothing is left.
    """
    chosen = list(cells)
    for key, values in only.items():
        present = {_value(cell, key) for cell in cells}
        wanted = {_found(cells, key, value, present) for value in values}
        chosen = [cell for cell in chosen if _value(cell, key) in wanted]
    if not chosen:
        asked = " ".join(f"{key}={','.join(values)}" for key, values in only.items())
        raise UserError(f"--only {asked} selects no cell; --dry-run without --only lists all cells")
    return chosen


def _found(cells: Sequence[Cell], key: str, value: str, present: Collection[str]) -> str:
    """The one of the values `present` that `value` spells.

    Raises:
        UserError: where there is none.
    """
    if value in present:
        return value
    hint = nearest(value, present)
    if key == "operator":
        # Another class may have the same name as the one that `--set operator.name=` added.
        operators = {cell.row: cell.config.operator.name for cell in cells}
        foreign = {row for row, name in operators.items() if ":" in name and name != value}
        row = row_named(value, {*present} - foreign)
        if row is not None:
            return row
        if value in registry.OPERATORS or ":" in value:
            hint = f" (--set operator.name={value} adds this row)"
    raise UserError(f"--only {key}={value} selects nothing{hint}; values: {', '.join(sorted(present))}")


def _value(cell: Cell, key: str) -> str:
    values = {"operator": cell.row, **cell.axes, "seed": cell.config.seed}
    if key not in values:
        raise UserError(f"--only {key}: no such key{nearest(key, values)}; keys: {', '.join(values)}")
    return text(values[key])


def find_cell(cells: Sequence[Cell], prefix: str, seed: int | None) -> Cell:
    """The cell whose id begins with `prefix`, or with `seed` the cell at that seed of the group whose id does.

    `prefix` may also be the name of the cell, or with `seed` the name without its seed.

    Raises:
        UserError: where `prefix` does not name exactly one cell.
    """
    matching = _matching(cells, prefix, seed)
    if len(matching) != 1:
        which = f"--cell {prefix!r}" + ("" if seed is None else f" --seed {seed}")
        raise UserError(f"{which} names {len(matching)} cells of this sweep but must name one; --dry-run lists them")
    return next(iter(matching.values()))


def _matching(cells: Sequence[Cell], prefix: str, seed: int | None) -> dict[str, Cell]:
    """The cells by id, because rows may share a cell."""
    return {
        cell.id: cell
        for cell in cells
        if (cell.id.startswith(prefix) and seed in (None, cell.config.seed))
        or (seed == cell.config.seed and (cell.group.startswith(prefix) or cell.place == prefix))
        or (seed is None and cell.name == prefix)
    }
