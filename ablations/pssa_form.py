# PYTHON_ARGCOMPLETE_OK
"""The forms of PSSA that the paper allows (Eq. 7-9 and 6.1.2; docs/paper.md), each with its own static control.

The rows are the forms. `dot` has a row each for heads of 1, of 8 and of all channels: with heads of 1 it equals
`hadamard` but for the normalisation, with one head it is Eq. 8. In `hadamard`, heads only group channels for
normalisation. Each column changes one thing.
"""

from __future__ import annotations

from ablations import rows
from ablations.engine.cli import main
from ablations.engine.sweep import Sweep
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig

OF_1, OF_8, ONE = {"head_channels": 1}, {"head_channels": 8}, {"num_heads": 1}
READINGS: dict[str, tuple[str, dict[str, int], str | None]] = {  # row: form, heads, control
    "pssa_dot_1": ("dot", OF_1, "pssa_channel_static"),  # like the control, it has a weight per tap and channel
    "pssa_dot_8": ("dot", OF_8, "pssa_8_static"),
    "pssa_dot_all": ("dot", ONE, "pssa_all_static"),
    "pssa_hadamard": ("hadamard", OF_8, "pssa_channel_static"),
    "pssa_hadamard_no_value": ("hadamard_no_value", {}, "pssa_channel_static"),
    "pssa_dense": ("dense", {}, "pssa_dense_static"),
    "pssa_8_static": ("static", OF_8, None),
    "pssa_all_static": ("static", ONE, None),
    "pssa_channel_static": ("static_channel", {}, None),
    "pssa_dense_static": ("static_dense", {}, None),
}
FORMS = {
    "dot": "dot", "hadamard": "Hadamard", "hadamard_no_value": "Hadamard without value", "dense": "dense",
    "static": "static", "static_channel": "static per channel", "static_dense": "static dense",
}  # fmt: skip
VARIANTS = {
    "raw": {"normalize": False},
    "normalised": {"normalize": True},
    "centre": {"centre": True},
    "propagate": {"propagate": True},
}


def configure(recipe: Recipe, row: str, variant: str) -> RunConfig:
    if row == "convolution":
        return recipe.config(row)
    form, heads, _ = READINGS[row]
    options = VARIANTS[variant]
    if "normalize" in options and row.endswith(rows.STATIC):
        options = {}  # nothing to normalise
    if form == "hadamard" and variant == "raw":
        heads = {}  # they only group channels for normalisation
    return recipe.config("pssa", form=form, **heads, **options)


def label(row: str) -> str:
    form, heads, _ = READINGS[row]
    name = FORMS[form]
    if not heads:
        return name
    return f"{name}, one head" if "num_heads" in heads else f"{name}, heads of {heads['head_channels']}"


SWEEP = Sweep(
    name="pssa_form",
    title="Readings of PSSA",
    reproduces="Eq. 7-9",
    rows={**rows.labelled("convolution"), **{row: label(row) for row in READINGS}},
    axes={"variant": tuple(VARIANTS)},
    configure=configure,
    baseline="convolution",
    controls={row: (control,) for row, (_, _, control) in READINGS.items() if control},
    figure="dots",
    figure_x="variant",
    note="Queries and keys are raw or normalised; static forms have none. centre adds the position itself, propagate "
    "adds Eq. 7's outer sum; in these two columns dot and hadamard are normalised and the other forms are raw.",
)

if __name__ == "__main__":
    main(SWEEP)
