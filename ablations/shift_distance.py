# PYTHON_ARGCOMPLETE_OK
"""Accuracy against the shift distances L of PSSA, alone and in X-volution (paper 6.1.2: "L is set as [1,3,5]").

The paper reports no other set.
"""

from __future__ import annotations

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import ON_IMAGES, Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig


def configure(recipe: Recipe, row: str, shift_distances: tuple[int, ...]) -> RunConfig:
    options = {} if row == "convolution" else {"shift_distances": shift_distances}
    return rows.configure(recipe, row, **options)


SWEEP = Sweep(
    name="shift_distance",
    title="Accuracy against shift distances",
    reproduces="Sect. 6.1.2",
    rows=rows.labelled("convolution", "pssa", "pssa_static", "xvolution", "xvolution_static"),
    axes={"shift_distances": ((1,), (3,), (5,), (1, 3), (1, 3, 5), (1, 3, 5, 7))},
    configure=configure,
    baseline="convolution",
    controls=rows.CONTROLS,
    figure="groups",
    figure_x="shift_distances",
    axis_labels={"shift_distances": "shift distances L"},
    paper={"shift_distances": (1, 3, 5)},
    note="A convolution has no shifts: all its columns show one network.",
    tasks=ON_IMAGES,
)

if __name__ == "__main__":
    main(SWEEP)
