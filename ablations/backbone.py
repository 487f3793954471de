# PYTHON_ARGCOMPLETE_OK
"""X-volution in other networks, which the paper leaves to future work (5): ResNets of four depths, and VGG.

A small recipe takes the number of blocks of each network, at the width of its small ResNet. The other recipes take the
whole network.
"""

from __future__ import annotations

import dataclasses

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import Sweep
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig

SMALL = "small_"


def place(recipe: Recipe, config: RunConfig, backbone: str) -> RunConfig:  # noqa: ARG001
    name = SMALL + backbone if config.backbone.name.startswith(SMALL) else backbone
    known = registry.lookup("backbone", name).options
    options = {option: value for option, value in config.backbone.options.items() if option in known}
    changed = dataclasses.replace(config.backbone, name=name, options=options)
    return dataclasses.replace(config, backbone=changed)


SWEEP = Sweep(
    name="backbone",
    title="X-volution in other backbones",
    reproduces="future work",
    rows=rows.labelled("convolution", "xvolution", "xvolution_static"),
    axes={"backbone": ("resnet18", "resnet34", "resnet50", "resnet101", "vgg13")},
    configure=rows.configure_row,
    place=place,
    baseline="convolution",
    controls={"xvolution": ("xvolution_static",)},
    figure="groups",
    figure_x="backbone",
    cost_rows=("params", "added_params", "macs"),
    note="On the small recipes a backbone is its plan of blocks at the widths and strides of the small ResNet.",
)

if __name__ == "__main__":
    main(SWEEP)
