"""Table 1: X-volution in each stage, in several, and in every spatial convolution, with the parameters that it adds.

The paper tries stages 3, 4 and 5 of ResNet-34 and ResNet-50 (4.2.1) and blames added parameters for the result of
stage 4. `all` is its future work (5), a network made of X-volution alone: stem and strided convolutions too.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import ON_IMAGES, Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig

ALL = (2, 3, 4, 5)


def configure(recipe: Recipe, row: str, stages: Any) -> RunConfig:  # noqa: ARG001
    return rows.configure(recipe, row)


def place(recipe: Recipe, config: RunConfig, stages: Any) -> RunConfig:  # noqa: ARG001
    if config.operator.name == "convolution":
        return config  # in whatever stage, it is the plain network
    chosen = {"stages": ALL, "places": "every"} if stages == "all" else {"stages": stages}
    return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, **chosen))


SWEEP = Sweep(
    name="stage",
    title="X-volution by stage",
    reproduces="Table 1",
    rows={**rows.labelled("convolution", "xvolution", "xvolution_static"), "convolution": "Convolution (no stage)"},
    axes={"stages": ((2,), (3,), (4,), (5,), (3, 4, 5), ALL, "all")},
    configure=configure,
    place=place,
    baseline="convolution",
    controls={"xvolution": ("xvolution_static",)},
    figure="bars",
    figure_x="stages",
    cost_rows=("params", "added_params"),
    paper={"stages": (5,)},
    note="The convolution is one network, which stands in all columns; stages = all is every spatial convolution, the "
    "stem too. The paper's default is stage 5.",
    tasks=ON_IMAGES,
)

if __name__ == "__main__":
    main(SWEEP)
