# PYTHON_ARGCOMPLETE_OK
"""Table 1: X-volution in each stage, in several, and in every spatial convolution, with the parameters that it adds.

The paper tries stages 3, 4 and 5 of ResNet-34 and ResNet-50 (4.2.1) and explains the result of stage 4 by the added
parameters. `all` is the paper's future work (5): X-volution replaces every spatial convolution, also in the stem and
where the stride is 2.
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


def place(recipe: Recipe, config: RunConfig, stages: Any) -> RunConfig:  # noqa: ARG001
    if config.operator.name == "convolution":
        return config  # the plain network in every column
    chosen = {"stages": ALL, "places": "every"} if stages == "all" else {"stages": stages}
    return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, **chosen))


SWEEP = Sweep(
    name="stage",
    title="X-volution by stage",
    reproduces="Table 1",
    rows={**rows.labelled("convolution", "xvolution", "xvolution_static"), "convolution": "Convolution (no stage)"},
    axes={"stages": ((2,), (3,), (4,), (5,), (3, 4, 5), ALL, "all")},
    configure=rows.configure_row,
    place=place,
    baseline="convolution",
    controls={"xvolution": ("xvolution_static",)},
    figure="groups",
    figure_x="stages",
    cost_rows=("params", "added_params"),
    paper={"stages": (5,)},
    note="All columns of the convolution show one network; stages = all is every spatial convolution, also in the "
    "stem. The paper's default is stage 5.",
    tasks=ON_IMAGES,
)

if __name__ == "__main__":
    main(SWEEP)
