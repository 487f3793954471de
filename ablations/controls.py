# PYTHON_ARGCOMPLETE_OK
"""Other explanations of a gain of X-volution: each row replaces the attention branch by something else.

The paper has no such table. As in `kernel_size`, the convolution branch of every row is a 3x3 alone. So the second
branch is the only difference to the convolution, and the two sweeps share the cells of the convolution, of X-volution
and of its static control.

| row | second branch | what it controls for |
| --- | --- | --- |
| `xvolution_static` | the taps without a product | reach |
| `wide_convolution` | none; a hidden layer with the parameters of X-volution | parameters |
| `xvolution_pointwise` | the static taps and a 1x1 hidden layer, with the parameters of X-volution | both |
| `convolution_1x1` | a 1x1 and a batch norm | two branches (RepVGG) |
| `convolution_11x11` | a depthwise 11x11 on a 1x1 | reach without gaps |
| `xvolution_softmax` | local attention on the same taps | weights of both signs |
| `xvolution_linear` | the same product over the whole map | the taps |
| `xvolution_frozen` | PSSA; W^q and W^k keep their initial values | learned products |
| `se_convolution` | none; a gate per channel | content without positions |
"""

from __future__ import annotations

from typing import Any

from ablations.engine.cli import main
from ablations.engine.sweep import ON_IMAGES, Sweep
from ablations.rows import labelled
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig

ALONE = {"kernel_size": 3, "dilated_kernel_size": None}
LABELS = labelled(
    *("convolution", "xvolution", "xvolution_static", "wide_convolution", "xvolution_pointwise"), dilated=False
)
# Row: operator, its options, and its label in tables.
ROWS: dict[str, tuple[str, dict[str, Any], str]] = {
    "convolution": ("convolution", {"kernel_size": 3}, LABELS["convolution"]),
    "xvolution": ("xvolution", {**ALONE, "form": "dot"}, LABELS["xvolution"]),
    "xvolution_static": ("xvolution", {**ALONE, "form": "static"}, LABELS["xvolution_static"]),
    "wide_convolution": ("wide_convolution", ALONE, LABELS["wide_convolution"]),
    "xvolution_pointwise": ("xvolution_pointwise", ALONE, LABELS["xvolution_pointwise"]),
    "convolution_1x1": ("paired_convolution", ALONE, "Convolution + 1x1"),
    "convolution_11x11": ("paired_convolution", {**ALONE, "second_kernel_size": 11}, "Convolution + 11x11"),
    "xvolution_softmax": ("xvolution", {**ALONE, "form": "softmax"}, "Softmax over taps"),
    "xvolution_linear": ("xvolution_sa", {**ALONE, "softmax": False}, "Linear attention"),
    "xvolution_frozen": ("xvolution", {**ALONE, "frozen_query_key": True}, "Frozen q, k"),
    # A reduction of 16 would leave one or two channels in the embedded networks.
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
