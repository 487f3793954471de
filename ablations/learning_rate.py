# PYTHON_ARGCOMPLETE_OK
"""Each operator at three learning rates, to choose one on the validation split before an experiment.

The paper has no such table. One rate for all operators can favour some of them. The table shows the validation metric,
never that of a test split, which is for the end. Seeds that no result uses keep the choice apart from the experiment:
`--first-seed 100 --seeds 2 --out runs/pilot`. The rates suit SGD with batches of 64; a static control takes the rate of
the row that it controls.
"""

from __future__ import annotations

from typing import Any

from ablations import operator, rows
from ablations.engine.cli import main
from ablations.engine.sweep import ON_IMAGES, Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig, set_value


def place(recipe: Recipe, config: RunConfig, learning_rate: Any) -> RunConfig:  # noqa: ARG001
    return set_value(config, "optim.lr", learning_rate)


SWEEP = Sweep(
    name="learning_rate",
    title="Accuracy on validation by learning rate",
    reproduces="no table",
    rows=operator.SWEEP.rows,
    axes={"learning_rate": (0.03, 0.1, 0.3)},
    configure=rows.configure_row,
    place=place,
    baseline="convolution",
    controls=rows.CONTROLS,
    figure="dots",
    figure_x="learning_rate",
    axis_labels={"learning_rate": "learning rate"},
    note="The metric is that of the validation split.",
    on_validation=True,
    tasks=(*ON_IMAGES, "regression"),
)

if __name__ == "__main__":
    main(SWEEP)
