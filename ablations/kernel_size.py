"""Fig. 3 (a): accuracy against the kernel size of the convolution branch (paper 4.3.1).

The conv branch of X-volution is the K x K convolution alone, so that the attention branch is the one difference to
the convolution baseline. `xvolution_static` has the same taps and heads and no query-key product: what it reaches
is reach, not attention.
"""

from __future__ import annotations

from ablations.cli import main
from ablations.sweep import Sweep
from lightning_xvol.config import RunConfig
from lightning_xvol.recipes import Recipe

FORMS = {"xvolution": "dot", "xvolution_static": "static"}


def configure(recipe: Recipe, row: str, kernel_size: int) -> RunConfig:
    if row == "convolution":
        return recipe.config("convolution", kernel_size=kernel_size)
    return recipe.config("xvolution", kernel_size=kernel_size, dilated_kernel_size=None, form=FORMS[row])


SWEEP = Sweep(
    name="kernel_size",
    title="Accuracy against kernel size",
    reproduces="Fig. 3 (a)",
    rows={"convolution": "Convolution", "xvolution": "X-volution", "xvolution_static": "X-volution, static"},
    axes={"kernel_size": (1, 3, 5, 7, 9)},
    configure=configure,
    baseline="convolution",
    subject="xvolution",
    control="xvolution_static",
    figure_x="kernel_size",
    axis_labels={"kernel_size": "kernel size K"},
)

if __name__ == "__main__":
    main(SWEEP)
