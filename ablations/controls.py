"""What else might explain a gain of X-volution: rows with one thing put in the place of its attention branch.

Not in the paper. As in `kernel_size`, the convolution branch of every row is a 3x3 alone, so that the second branch is
the one difference to the convolution, and the sweeps share the cells of convolution, X-volution and its static control.

| row | second branch | what it controls |
| --- | --- | --- |
| `xvolution_static` | the taps without a product | reach |
| `wide_convolution` | none; a hidden layer of the parameters of X-volution | parameters |
| `xvolution_pointwise` | the static taps and a 1x1 hidden layer, with the parameters of X-volution | both at once |
| `convolution_1x1` | a 1x1 and a batch norm | two branches (RepVGG) |
| `convolution_11x11` | a depthwise 11x11 on a 1x1 | reach without gaps |
| `xvolution_softmax` | local attention on the same taps | weights of both signs |
| `xvolution_linear` | the same product over the whole map | taps at all |
| `xvolution_frozen` | PSSA, W^q and W^k as they were drawn | learned products |
| `se_convolution` | none; a gate per channel | content that is not spatial |
"""

from __future__ import annotations

from typing import Any

from ablations.engine.cli import main
from ablations.engine.sweep import ON_IMAGES, Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig

ALONE = {"kernel_size": 3, "dilated_kernel_size": None}
# Operator, its options, and how tables call it.
ROWS: dict[str, tuple[str, dict[str, Any], str]] = {
    "convolution": ("convolution", {"kernel_size": 3}, "Convolution"),
    "xvolution": ("xvolution", {**ALONE, "form": "dot"}, "X-volution"),
    "xvolution_static": ("xvolution", {**ALONE, "form": "static"}, "X-volution, static"),
    "wide_convolution": ("wide_convolution", ALONE, "Wide convolution"),
    "xvolution_pointwise": ("xvolution_pointwise", ALONE, "Static + 1x1"),
    "convolution_1x1": ("paired_convolution", ALONE, "Convolution + 1x1"),
    "convolution_11x11": ("paired_convolution", {**ALONE, "second_kernel_size": 11}, "Convolution + 11x11"),
    "xvolution_softmax": ("xvolution", {**ALONE, "form": "softmax"}, "Softmax over taps"),
    "xvolution_linear": ("xvolution_sa", {**ALONE, "softmax": False}, "Linear attention"),
    "xvolution_frozen": ("xvolution", {**ALONE, "frozen_query_key": True}, "Frozen q, k"),
    # With their reduction of 16 the embedded networks would have one or two channels between.
    "se_convolution": ("se_convolution", {"kernel_size": 3, "reduction": 4}, "Convolution + SE"),
}


def configure(recipe: Recipe, row: str) -> RunConfig:
    operator, options, _ = ROWS[row]
    return recipe.config(operator, **options)


SWEEP = Sweep(
    name="controls",
    title="What stands in the place of attention",
    reproduces="no table",
    rows={row: label for row, (_, _, label) in ROWS.items()},
    configure=configure,
    baseline="convolution",
    controls=dict.fromkeys(("xvolution", "xvolution_softmax", "xvolution_frozen"), ("xvolution_static",)),
    figure="scatter",
    figure_x="params",
    tasks=ON_IMAGES,
)

if __name__ == "__main__":
    main(SWEEP)
