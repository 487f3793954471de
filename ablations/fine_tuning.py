# PYTHON_ARGCOMPLETE_OK
"""What a tenth more training recovers after the product of query and key is removed from a trained network.

The paper has no such table. A fall of the accuracy without the product (docs/paper.md, "Is the product used?") may mean
that the images need the product, or only that the other weights were trained beside it. So a copy of the network is
trained further without its product (`lightning_xvol.training.fine_tuning`). The static control never had a product.
Rows without a product are cells of the sweep `operator`. All rows have the weights of that sweep.
"""

from __future__ import annotations

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig, set_value

SHARE = 0.1


def place(recipe: Recipe, config: RunConfig) -> RunConfig:  # noqa: ARG001
    return set_value(config, "train.finetune_ablated", SHARE)


SWEEP = Sweep(
    name="fine_tuning",
    title="Fine-tuning without the product",
    reproduces="no table",
    rows=rows.labelled(*rows.with_controls(("convolution", "pssa", "xvolution"))),
    configure=rows.configure_row,
    place=place,
    baseline="convolution",
    controls=rows.CONTROLS,
    figure="dots",
    note="The fine-tuning lasts a tenth of the budget.",
)

if __name__ == "__main__":
    main(SWEEP)
