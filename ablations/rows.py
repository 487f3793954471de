"""Rows that sweeps share: the registered operators, and the static controls of PSSA and X-volution.

A static control has the same taps and heads and no query-key product. Its gain comes from reach, not from attention.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning_xvol.config import registry
from lightning_xvol.config.recipes import Recipe
from lightning_xvol.config.schema import RunConfig

STATIC = "_static"
NO_DILATED = " (no dilated 5x5)"
"""The end of a label where the convolution branch of X-volution is a single convolution, which is another network."""
CONTROLS = {"pssa": ("pssa_static",), "xvolution": ("xvolution_static",)}


def labelled(*rows: str, dilated: bool = True) -> dict[str, str]:
    """`rows` with their labels in tables. One label stands for one network, also across sweeps.

    Args:
        rows: Registered operators, or their static forms.
        dilated: Whether the sweep keeps the dilated 5x5 of the operators that have one.
    """
    labels = {}
    for row in rows:
        name = row.removesuffix(STATIC)
        lacks = not dilated and "dilated_kernel_size" in registry.lookup("operator", name).options
        label = registry.label("operator", name) + (NO_DILATED if lacks else "")
        labels[row] = label + (", static" if row != name else "")
    return labels


def with_controls(names: Iterable[str]) -> list[str]:
    """`names`, each followed by its static controls."""
    return [row for name in names for row in (name, *CONTROLS.get(name, ()))]


def configure(recipe: Recipe, row: str, **options: Any) -> RunConfig:
    """The operator that `row` names, or its static form, with `options`."""
    name = row.removesuffix(STATIC)
    return recipe.config(name, **options, **({"form": "static"} if row != name else {}))


def configure_row(recipe: Recipe, row: str, **axes: Any) -> RunConfig:  # noqa: ARG001
    """`configure` without options, for a sweep whose axes are all handled by `place`."""
    return configure(recipe, row)
