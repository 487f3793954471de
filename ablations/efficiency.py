"""Accuracy and cost in one table, and accuracy against multiply-adds: what each operator gives for what it takes.

The paper has no such table; it claims that PSSA's cost is linear in the pixels (3.2) and compares accuracies only.
It has every registered operator and shares the cells of `operator`. Times on one's own machine:
`python -m benchmarks operators`.
"""

from __future__ import annotations

import dataclasses

from ablations import operator
from ablations.engine.cli import main
from ablations.rows import labelled, with_controls
from lightning_xvol.config import registry

SWEEP = dataclasses.replace(
    operator.SWEEP,
    name="efficiency",
    title="Accuracy against cost",
    reproduces="no table",
    rows=labelled(*with_controls(registry.OPERATORS)),
    figure="scatter",
    figure_x="macs",
)

if __name__ == "__main__":
    main(SWEEP)
