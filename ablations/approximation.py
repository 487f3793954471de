# PYTHON_ARGCOMPLETE_OK
"""Does stacked PSSA approximate global self-attention, as 3.3 argues? The paper has no experiment on it.

Stacks of each operator are fitted to the output of a fixed global attention, with and without softmax
(`lightning_xvol/data/attention_maps.py`). The score is the variance of held-out maps that a stack explains beyond a
fitted static 1x1 convolution. That convolution is the row `static_1x1`: its network starts at 0 and is never trained.

`convolution_1x1` sees only one position. `self_attention` has a softmax where the target has one, and shows what the
budget allows; without a softmax it normalises queries and keys, which the target does not. The static control of a form
has tap weights per head, per channel or dense, like that form.
"""

from __future__ import annotations

from typing import Any

from ablations.engine.cli import main
from ablations.engine.sweep import Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig, set_value

FORMS: dict[str, dict[str, Any]] = {
    "pssa_static": {"form": "static"},
    "pssa": {"form": "dot"},
    "pssa_raw": {"form": "dot", "normalize": False},
    "pssa_channel_static": {"form": "static_channel"},
    "pssa_hadamard": {"form": "hadamard"},
    "pssa_hadamard_no_value": {"form": "hadamard_no_value"},
    "pssa_dense_static": {"form": "static_dense"},
    "pssa_dense": {"form": "dense"},
}


def configure(recipe: Recipe, row: str, softmax: bool, depth: int) -> RunConfig:
    if row in FORMS:
        config = recipe.config("pssa", **FORMS[row])
    elif row in ("static_1x1", "convolution_1x1"):
        config = recipe.config("convolution", kernel_size=1)
    else:
        config = recipe.config(row, **({"softmax": softmax} if row == "self_attention" else {}))
    if row == "static_1x1":
        config, depth = set_value(config, "optim.lr", 0.0), 1
    return set_value(set_value(config, "data.softmax", softmax), "backbone.depth", depth)


SWEEP = Sweep(
    name="approximation",
    title="Global attention by stacks of local operators",
    reproduces="3.3's claim",
    rows={
        "static_1x1": "Static 1x1, fitted",
        "convolution_1x1": "Convolution 1x1",
        "convolution": "Convolution 3x3",
        "pssa_static": "PSSA, static",
        "pssa": "PSSA",
        "pssa_raw": "PSSA, not normalised",
        "pssa_channel_static": "PSSA, static per channel",
        "pssa_hadamard": "PSSA, Hadamard",
        "pssa_hadamard_no_value": "PSSA, Hadamard without value",
        "pssa_dense_static": "PSSA, static dense",
        "pssa_dense": "PSSA, dense",
        "self_attention": "Self-attention, global",
    },
    axes={"softmax": (True, False), "depth": (1, 2, 3, 4, 5, 6)},
    configure=configure,
    baseline="static_1x1",
    controls={
        "pssa": ("pssa_static",),
        "pssa_raw": ("pssa_static",),
        "pssa_hadamard": ("pssa_channel_static",),
        "pssa_hadamard_no_value": ("pssa_channel_static",),
        "pssa_dense": ("pssa_dense_static",),
    },
    figure="facets",
    figure_x="depth",
    recipe="attention_maps",
    recipes=("attention_maps", "attention_photographs"),
)

if __name__ == "__main__":
    main(SWEEP)
