"""The sweeps that there are."""

from __future__ import annotations

import importlib
import pkgutil

import ablations
from ablations.sweep import Sweep


def sweeps() -> dict[str, Sweep]:
    """Every module of this package that holds a SWEEP, sorted by what they reproduce."""
    found = {}
    for module in pkgutil.iter_modules(ablations.__path__):
        if not module.ispkg and module.name != "__main__":
            sweep = getattr(importlib.import_module(f"ablations.{module.name}"), "SWEEP", None)
            if isinstance(sweep, Sweep):
                found[module.name] = sweep
    return dict(sorted(found.items(), key=lambda item: (item[1].reproduces, item[0])))
