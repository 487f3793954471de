# PYTHON_ARGCOMPLETE_OK
"""Accuracy against the distance between the things to compare: the paper's claim of long range, as a curve.

The data are `match` on a canvas of 48 pixels, where a candidate lies 8 to 20 pixels from the middle. The operators
work at strides 4, 4 and 8, where these distances are 2 to 5 and 1 to 2.5 positions. `pssa_1` has the shift distance 1
alone, `pssa_1_3` has the distances 1 and 3, and so on. `pssa` has the paper's distances 1, 3 and 5. The `_static` row
of each has the same taps and no product.
"""

from __future__ import annotations

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig, set_value

CANVAS = 48
SHIFTS = {
    "pssa_1": (1,),
    "pssa_3": (3,),
    "pssa_5": (5,),
    "pssa_1_3": (1, 3),
    "pssa": (1, 3, 5),
    "pssa_1_3_5_7": (1, 3, 5, 7),
}


def configure(recipe: Recipe, row: str, distance: int) -> RunConfig:
    name = row.removesuffix(rows.STATIC)
    if name in SHIFTS:
        form = "dot" if row == name else "static"
        config = recipe.config("pssa", shift_distances=SHIFTS[name], form=form)
    else:
        config = recipe.config(row)
    return set_value(set_value(config, "data.canvas", CANVAS), "data.distance", distance)


def labelled() -> dict[str, str]:
    """The rows and their labels: each set of distances, followed by its control."""
    labels = {"convolution": "Convolution"}
    for row, distances in SHIFTS.items():
        labels[row] = f"PSSA, L = {', '.join(map(str, distances))}"
        labels[row + rows.STATIC] = f"{labels[row]}, static"
    return labels


SWEEP = Sweep(
    name="distance",
    title="Accuracy against distance",
    reproduces="the long range of 3.3",
    rows=labelled(),
    axes={"distance": (8, 12, 16, 20)},
    configure=configure,
    baseline="convolution",
    controls={row: (row + rows.STATIC,) for row in SHIFTS},
    figure="facets",
    figure_x="distance",
    axis_labels={"distance": "distance (pixels)"},
    recipes=("match_small",),
)

if __name__ == "__main__":
    main(SWEEP)
