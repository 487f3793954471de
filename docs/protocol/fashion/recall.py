# PYTHON_ARGCOMPLETE_OK
"""The sweep `recall` of docs/protocol/fashion.md: data on which a product of query and key may be needed.

    python -m docs.protocol.fashion.recall --config docs/protocol/fashion/recall.yaml --jobs 2

`lightning_xvol.data.recall` describes the data. It is no sweep of the suite, as the attempt may fail.
"""

from __future__ import annotations

import dataclasses

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig, set_value

WIDTHS = (16, 20, 36, 40)
"""Inner widths of the static control. With them it has more parameters than PSSA at the recipe's 16, 16, 32, 32."""
EPOCHS = 24


def configure(recipe: Recipe, row: str) -> RunConfig:
    if row == "wide_convolution":
        return recipe.config(row, kernel_size=3, dilated_kernel_size=None)
    config = rows.configure(recipe, row)
    return set_value(config, "backbone.widths", WIDTHS) if row == "pssa_static" else config


def place(recipe: Recipe, config: RunConfig) -> RunConfig:  # noqa: ARG001
    data = dataclasses.replace(config.data, name="lightning_xvol.data.recall:Recall", options={"train_size": 8000})
    return set_value(dataclasses.replace(config, data=data), "train.epochs", EPOCHS)


SWEEP = Sweep(
    name="recall",
    title="Recall",
    reproduces="no table",
    rows={**rows.labelled("pssa", "wide_convolution"), "pssa_static": "PSSA, static, wider"},
    configure=configure,
    place=place,
    baseline="wide_convolution",
    controls=rows.CONTROLS,
    figure="dots",
    recipe="fashion_small",
    recipes=("fashion_small",),
)

if __name__ == "__main__":
    main(SWEEP)
