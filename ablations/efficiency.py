"""Accuracy and cost in one table, and accuracy against multiply-adds: what each operator gives for what it takes.

The paper has no such table; it claims that PSSA's cost is linear in the pixels (3.2) and compares accuracies only.
`pssa_static` and `xvolution_static` are the same operators without the query-key product, so cheaper: what they reach
is reach, not attention. Times on one's own machine: `python -m lightning_xvol benchmark`.
"""

from __future__ import annotations

from ablations.cli import main
from ablations.sweep import Sweep
from lightning_xvol import registry
from lightning_xvol.config import RunConfig
from lightning_xvol.recipes import Recipe

STATIC = {"pssa": "pssa_static", "xvolution": "xvolution_static"}


def configure(recipe: Recipe, row: str) -> RunConfig:
    name = row.removesuffix("_static")
    return recipe.config(row) if name == row else recipe.config(name, form="static")


ROWS = {}
for name, entry in registry.OPERATORS.items():
    ROWS[name] = entry.label
    if name in STATIC:
        ROWS[STATIC[name]] = f"{entry.label}, static"


SWEEP = Sweep(
    name="efficiency",
    title="Accuracy against cost",
    reproduces="no table",
    rows=ROWS,
    axes={},
    configure=configure,
    baseline="convolution",
    subject="xvolution",
    control="xvolution_static",
    figure="scatter",
    figure_x="macs",
)

if __name__ == "__main__":
    main(SWEEP)
