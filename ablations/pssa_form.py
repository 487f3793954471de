"""The readings of PSSA (Eq. 7-9 and 6.1.2; docs/paper.md), each with its own static control.

Rows are forms and, where a form has heads, 1, 8 or all channels a head: `dot` with one channel a head is `hadamard` but
for the normalisation, `dot` with all in one head is Eq. 8. Columns change one thing at a time.
"""

from __future__ import annotations

from typing import Any

from ablations import rows
from ablations.cli import main
from ablations.sweep import Sweep
from lightning_xvol.config import RunConfig
from lightning_xvol.recipes import Recipe

HEADS: dict[str, dict[str, int]] = {"1": {"head_channels": 1}, "8": {"head_channels": 8}, "all": {"num_heads": 1}}
# The control of `dot` with one channel a head has a weight per channel: static_channel.
CONTROLS = {
    **{f"pssa_dot_{size}": (f"pssa_dot_{size}_static",) for size in ("8", "all")},
    **dict.fromkeys(("pssa_dot_1", "pssa_hadamard_no_value"), ("pssa_channel_static",)),
    **{f"pssa_hadamard_{size}": ("pssa_channel_static",) for size in HEADS},
    "pssa_dense": ("pssa_dense_static",),
}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"pssa_dot_{size}": ("dot", heads) for size, heads in HEADS.items()},
    **{f"pssa_dot_{size}_static": ("static", HEADS[size]) for size in ("8", "all")},
    **{f"pssa_hadamard_{size}": ("hadamard", heads) for size, heads in HEADS.items()},
    "pssa_hadamard_no_value": ("hadamard_no_value", {}),
    "pssa_channel_static": ("static_channel", {}),
    "pssa_dense": ("dense", {}),
    "pssa_dense_static": ("static_dense", {}),
}
VARIANTS = {
    "raw": {"normalize": False},
    "normalised": {"normalize": True},
    "centre": {"centre": True},
    "outer sum": {"propagate": True},
}


def configure(recipe: Recipe, row: str, variant: str) -> RunConfig:
    if row == "convolution":
        return recipe.config(row)
    form, heads = FORMS[row]
    options = VARIANTS[variant]
    if "normalize" in options and row.endswith(rows.STATIC):
        options = {}  # nothing to normalise
    if form == "hadamard" and variant == "raw":
        heads = {}  # they are what the norms are taken over
    return recipe.config("pssa", form=form, **heads, **options)


def label(row: str) -> str:
    form, heads = FORMS[row]
    return f"{form}, {row.split('_')[2]} a head" if heads else form


SWEEP = Sweep(
    name="pssa_form",
    title="Readings of PSSA",
    reproduces="Eq. 7-9",
    rows={**rows.labelled("convolution"), **{row: label(row) for row in FORMS}},
    axes={"variant": tuple(VARIANTS)},
    configure=configure,
    baseline="convolution",
    controls=CONTROLS,
    figure="dots",
    figure_x="variant",
    note="Raw or normalised are queries and keys, which static forms lack; `dot` and `hadamard` are normalised in the "
    "columns centre and outer sum, the other forms raw.",
)

if __name__ == "__main__":
    main(SWEEP)
