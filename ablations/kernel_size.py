# PYTHON_ARGCOMPLETE_OK
"""Fig. 3 (a): accuracy against the kernel size of the convolution branch (paper 4.3.1).

The convolution branch of X-volution is the K x K convolution alone, so that the attention branch is the only difference
to the convolution baseline. `--reading A` keeps the 5x5 of dilation 2 beside it, as in 6.1.2. Its baseline is that
whole branch, a multi-convolution with the same K. `xvolution_static` has the same taps and heads and no query-key
product, so its gain comes from reach, not from attention.
"""

from __future__ import annotations

import dataclasses

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import ON_IMAGES, Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig


def configure(recipe: Recipe, row: str, kernel_size: int) -> RunConfig:
    options = {} if row == "convolution" else {"dilated_kernel_size": None}
    return rows.configure(recipe, row, kernel_size=kernel_size, **options)


SWEEP = Sweep(
    name="kernel_size",
    title="Accuracy against kernel size",
    reproduces="Fig. 3 (a)",
    rows=rows.labelled("convolution", "xvolution", "xvolution_static", dilated=False),
    axes={"kernel_size": (1, 3, 5, 7, 9)},
    configure=configure,
    baseline="convolution",
    controls={"xvolution": ("xvolution_static",)},
    figure_x="kernel_size",
    axis_labels={"kernel_size": "kernel size K"},
    tasks=ON_IMAGES,
)
READING_A = dataclasses.replace(
    SWEEP,
    name="kernel_size_reading_a",
    title="Accuracy against kernel size, the dilated 5x5 kept",
    rows=rows.labelled("multi_convolution", "xvolution", "xvolution_static"),
    configure=rows.configure,
    baseline="multi_convolution",
    paper={"kernel_size": 3},
)
SWEEP = dataclasses.replace(SWEEP, readings={"A": READING_A})

if __name__ == "__main__":
    main(SWEEP)
