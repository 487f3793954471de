"""The sweeps that there are."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from ablations.engine.plan import describe_cells
from ablations.engine.sweep import Selection, Sweep, make_cells
from lightning_xvol.config.recipes import get_recipe

SWEEPS_FOLDER = Path(__file__).parents[1]


def sweeps() -> dict[str, Sweep]:
    """Every module of this package that holds a SWEEP, sorted by what they reproduce."""
    found = {}
    for module in pkgutil.iter_modules([str(SWEEPS_FOLDER)]):
        if not module.ispkg and module.name != "__main__":
            sweep = getattr(importlib.import_module(f"ablations.{module.name}"), "SWEEP", None)
            if isinstance(sweep, Sweep):
                found[module.name] = sweep
    return dict(sorted(found.items(), key=lambda item: (item[1].reproduces, item[0])))


def plans() -> list[dict[str, Any]]:
    """What each sweep, and each of its readings, lays out on its default recipe with one seed: see `describe_cells`."""
    found = []
    for sweep in (each for named in sweeps().values() for each in (named, *named.readings.values())):
        recipe = get_recipe(sweep.recipe)
        found.append(describe_cells(sweep, recipe, make_cells(sweep, recipe, Selection(seeds=1)), smoke=False))
    return found
