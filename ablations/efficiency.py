# PYTHON_ARGCOMPLETE_OK
"""Accuracy and cost in one table, and a figure of accuracy against multiply-adds.

The paper has no such table. It claims that the cost of PSSA is linear in the number of pixels (3.2), and compares
accuracies only. The rows are all registered operators, and the cells are shared with `operator`. `python -m benchmarks
operators` measures times on your own machine.
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
