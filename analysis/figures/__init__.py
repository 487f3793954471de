"""Figures of a sweep. Functions take a frame and optional axes, return the axes, and fetch nothing.

Each takes a `Size` (`analysis.figures.style.SIZES`), or chooses between one column of a paper and both by what there is
to show. Rows, and values along x, of which no run has finished are left out, unless none has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from analysis.figures.categories import bars, dots
from analysis.figures.costs import scatter, with_costs
from analysis.figures.facets import facets
from analysis.figures.lines import curves, lines
from analysis.figures.runs import learning, seeds
from lightning_xvol.ledger import files

__all__ = ["KINDS", "bars", "curves", "dots", "facets", "learning", "lines", "scatter", "seeds", "with_costs", "write"]

KINDS: dict[str, Callable[..., Axes]] = {
    "lines": lines,
    "facets": facets,
    "scatter": scatter,
    "bars": bars,
    "dots": dots,
    "curves": curves,
    "with_costs": with_costs,
}
"""What a sweep may name as its figure: each takes a summary, the column along x, its label and that of the metric."""

# Without dates and versions, the same numbers give the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
_SAVING: Any = {"pdf.fonttype": 42, "svg.hashsalt": "lightning-xvol", "savefig.dpi": 300}  # TrueType is embedded


def write(ax: Axes, path: Path) -> None:
    """Save the figure of `ax` atomically, in the format of the suffix (pdf, png, svg)."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes belong to no figure")
    kind = path.suffix.removeprefix(".")
    with matplotlib.rc_context(_SAVING):
        files.write_by(path, lambda file: figure.savefig(file, format=kind, metadata=_METADATA[kind]))
