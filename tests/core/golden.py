"""Writes golden_fingerprints.json: `.venv/bin/python tests/core/golden.py`.

It adds the recipes and operators that the file lacks and leaves every id in it as it is. Replacing an id (`--replace`)
makes everybody run again what they ran under the old one. It is allowed only together with a raised `SCHEMA`
(`lightning_xvol.config.resolved`), or for a recipe that is meant to be another experiment from now on. A new field or
option is no reason: it declares a legacy value.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

PATH = Path(__file__).with_name("golden_fingerprints.json")
SEEDS = (0, 1)
sys.path.insert(0, str(PATH.parents[2]))

from lightning_xvol.config import registry  # noqa: E402
from lightning_xvol.config.recipes import RECIPES  # noqa: E402
from lightning_xvol.config.resolved import SCHEMA  # noqa: E402
from lightning_xvol.config.schema import RunConfig, set_value  # noqa: E402
from lightning_xvol.ledger import record  # noqa: E402


def configs() -> Iterator[tuple[str, str, RunConfig]]:
    """Every recipe with every operator, as runs had it before a default changed: the file holds the ids of those."""
    for name, recipe in RECIPES.items():
        for operator in registry.OPERATORS:
            config = set_value(recipe.config(operator), "train.weight_gradient", "plain")
            for option, value in registry.OPERATORS[operator].legacy_values.items():
                config = set_value(config, f"operator.options.{option}", value)
            yield name, operator, config


def ids(config: RunConfig) -> dict[str, str]:
    """The group's id, and the cell's by seed."""
    cells = {f"seed {seed}": record.cell_id(dataclasses.replace(config, seed=seed)) for seed in SEEDS}
    return {"group": record.group_id(config), **cells}


def main() -> None:
    content = json.loads(PATH.read_text())
    if "--replace" in sys.argv:
        content |= {"schema": SCHEMA, "ids": {}}
    for recipe, operator, config in configs():
        content["ids"].setdefault(recipe, {}).setdefault(operator, ids(config))
    PATH.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
