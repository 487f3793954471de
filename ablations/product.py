"""Is the query-key product needed? PSSA and X-volution against the same taps without it, at no fewer parameters.

On `match` a static control does as well. On `echo`, the default here, the label lies in products of far positions. The
wide controls have wider stages instead of query and key projections, and more parameters than what they stand beside.
X-volution's convolution is 1x1, so that it adds no reach of its own.
"""

from __future__ import annotations

from typing import Any

from ablations.cli import main
from ablations.sweep import Sweep
from lightning_xvol.config import RunConfig, set_value
from lightning_xvol.recipes import Recipe

WIDE = "wide_"
WIDTHS = (16, 20, 36, 36)
FORMS: dict[str, dict[str, Any]] = {
    "pssa": {},
    "pssa_static": {"form": "static"},
    "xvolution": {"kernel_size": 1, "dilated_kernel_size": None},
    "xvolution_static": {"kernel_size": 1, "dilated_kernel_size": None, "form": "static"},
}


def configure(recipe: Recipe, row: str) -> RunConfig:
    if row.startswith("convolution"):
        return recipe.config("convolution", kernel_size=7 if row.endswith("7x7") else 3)
    name = row.removeprefix(WIDE)
    config = recipe.config(name.removesuffix("_static"), **FORMS[name])
    return config if name == row else set_value(config, "backbone.widths", WIDTHS)


SWEEP = Sweep(
    name="product",
    title="With and without the query-key product",
    reproduces="no table",
    rows={
        "convolution": "Convolution 3x3",
        "convolution_7x7": "Convolution 7x7",
        "pssa_static": "PSSA, static",
        "wide_pssa_static": "PSSA, static, wider",
        "pssa": "PSSA",
        "xvolution_static": "X-volution 1x1, static",
        "wide_xvolution_static": "X-volution 1x1, static, wider",
        "xvolution": "X-volution 1x1",
    },
    axes={},
    configure=configure,
    baseline="convolution",
    subject="pssa",
    control="pssa_static",
    figure="scatter",
    figure_x="params",
    recipe="echo_small",
    recipes=("echo_small", "match_small"),
)

if __name__ == "__main__":
    main(SWEEP)
