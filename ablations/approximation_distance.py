# PYTHON_ARGCOMPLETE_OK
"""Other shift distances L in the experiment of `ablations.approximation`: PSSA and its static control, with softmax."""

from __future__ import annotations

from ablations import approximation
from ablations.engine.cli import main
from ablations.engine.sweep import Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig, set_value


def configure(recipe: Recipe, row: str, shift_distances: tuple[int, ...], depth: int) -> RunConfig:
    config = approximation.configure(recipe, row, softmax=True, depth=depth)
    return config if row == "static_1x1" else set_value(config, "operator.shift_distances", shift_distances)


SWEEP = Sweep(
    name="approximation_distance",
    title="Global attention by stacks of PSSA with other shift distances",
    reproduces="3.3's claim",
    rows={row: approximation.SWEEP.rows[row] for row in ("static_1x1", "pssa_static", "pssa")},
    axes={"shift_distances": ((1,), (3,), (5,), (1, 3), (1, 3, 5), (1, 3, 5, 7)), "depth": (1, 3, 6)},
    configure=configure,
    baseline="static_1x1",
    controls={"pssa": ("pssa_static",)},
    figure="facets",
    figure_x="shift_distances",
    axis_labels={"shift_distances": "shift distances L"},
    recipe=approximation.SWEEP.recipe,
    recipes=approximation.SWEEP.recipes,
)

if __name__ == "__main__":
    main(SWEEP)
