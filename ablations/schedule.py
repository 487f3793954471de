# PYTHON_ARGCOMPLETE_OK
"""Table 6: 1x, 2x, 3x and 6x of a base schedule; and Fig. 3 (b), accuracy by epoch (paper 4.3.2 and 6.2).

The learning rate follows the fraction of the budget that is done, so a longer schedule is the base schedule, stretched.
Detectors are the exception: their 3x and 6x schedules decay later (Table 7). Fig. 3 (b) shows the longest schedule.
"""

from __future__ import annotations

import dataclasses

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import ON_IMAGES, Sweep
from lightning_xvol.config.recipes import Recipe, lengthen
from lightning_xvol.config.schema import RunConfig


def place(recipe: Recipe, config: RunConfig, schedule: int) -> RunConfig:
    if recipe.base_epochs is not None:
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=recipe.base_epochs))
    return lengthen(config, schedule)


SWEEP = Sweep(
    name="schedule",
    title="Accuracy by schedule",
    reproduces="Table 6 and Fig. 3 (b)",
    rows=rows.labelled("convolution", "self_attention", "pssa", "pssa_static", "xvolution", "xvolution_static"),
    axes={"schedule": (1, 2, 3, 6)},
    configure=rows.configure_row,
    place=place,
    baseline="convolution",
    controls=rows.CONTROLS,
    figure="curves",
    figure_x="schedule",
    note="Schedule n trains n times as long as schedule 1. The figure shows the longest by epoch, on the images that "
    "each epoch is validated on.",
    tasks=ON_IMAGES,
)

if __name__ == "__main__":
    main(SWEEP)
