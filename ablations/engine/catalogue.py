"""Finds all sweeps."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ablations.engine.cells import make_cells
from ablations.engine.plan import describe_cells
from ablations.engine.sweep import Sweep
from lightning_xvol.config.recipes import get_recipe

SWEEPS_FOLDER = Path(__file__).parents[1]


@functools.cache
def sweeps() -> Mapping[str, Sweep]:
    """The sweep of every module of `ablations` that holds a SWEEP, sorted by the part of the paper."""
    found = {}
    for module in pkgutil.iter_modules([str(SWEEPS_FOLDER)]):
        if not module.ispkg and module.name != "__main__":
            sweep = getattr(importlib.import_module(f"ablations.{module.name}"), "SWEEP", None)
            if isinstance(sweep, Sweep):
                found[module.name] = sweep
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: (item[1].reproduces, item[0]))))


def plans() -> list[dict[str, Any]]:
    """The plan (`describe_cells`) of each sweep and of each of its readings, on its default recipe with one seed."""
    found = []
    for sweep in (each for named in sweeps().values() for each in (named, *named.readings.values())):
        recipe = get_recipe(sweep.recipe)
        found.append(describe_cells(sweep, recipe, make_cells(sweep, recipe, seeds=1), smoke=False))
    return found
