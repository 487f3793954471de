"""A label in a table stands for one network, whatever the sweep: also where two sweeps change one option."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from ablations import SWEEPS
from ablations.engine.sweep import Sweep
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import RECIPES


def every_sweep() -> Iterator[Sweep]:
    for sweep in SWEEPS.values():
        yield sweep
        yield from sweep.readings.values()


def fixed_options(sweep: Sweep, recipe: str, row: str) -> dict[str, Any]:
    """The operator of `row` with those of its options that no axis of the sweep varies."""
    found: list[dict[str, Any]] = []
    for values in itertools.product(*sweep.axes.values()):
        operator = sweep.configure(RECIPES[recipe], row, **dict(zip(sweep.axes, values, strict=True))).operator
        found.append({"": operator.name, **registry.resolve_options("operator", operator.name, operator.options)})
    first = found[0]
    return {key: value for key, value in first.items() if all(each.get(key) == value for each in found)}


def test_one_label_is_one_network() -> None:
    seen: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]] = {}
    for sweep in every_sweep():
        recipe = next(iter(sweep.recipes), "match_small")
        for row, label in sweep.rows.items():
            seen.setdefault((recipe, label), []).append((f"{sweep.name} {row}", fixed_options(sweep, recipe, row)))
    two = [
        f"{label}: {place} and {other} differ in {key or 'the operator'}"
        for (_, label), uses in seen.items()
        for (place, own), (other, others) in itertools.combinations(uses, 2)
        for key in own.keys() & others.keys()
        if own[key] != others[key]
    ]
    assert not two, "\n".join(two)
    assert all(len(seen["match_small", label]) > 5 for label in ("Convolution", "X-volution")), "sweeps are compared"


def test_the_x_volution_without_the_dilated_convolution_says_so() -> None:
    for name in ("kernel_size", "controls"):
        rows = SWEEPS[name].rows
        assert rows["xvolution"] == "X-volution (no dilated 5x5)"
        assert rows["xvolution_static"] == "X-volution (no dilated 5x5), static"
    assert SWEEPS["operator"].rows["xvolution"] == "X-volution"
    assert SWEEPS["kernel_size"].readings["A"].rows["xvolution"] == "X-volution"
