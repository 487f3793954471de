"""The kinds of figure by name, and how a figure is saved.

Each kind is a function of a `Chart` (numbers, labels and size) and optional axes, and returns the axes. It reads no
files. Figures of means leave out rows and values of `x` without a finished run, unless no run at all has finished.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from analysis.figures.categories import dots, groups
from analysis.figures.chart import Chart
from analysis.figures.confusion import confusion
from analysis.figures.costs import scatter, with_costs
from analysis.figures.facets import facets
from analysis.figures.lines import curves, lines
from analysis.figures.runs import learning, seeds
from lightning_xvol.ledger import files
from lightning_xvol.visualize.style import settings

__all__ = [
    "KINDS", "NAMES", "Chart", "confusion", "content", "curves", "dots", "facets", "groups", "learning", "lines",
    "scatter", "seeds", "with_costs", "write",
]  # fmt: skip

KINDS: dict[str, Callable[..., Axes]] = {
    "lines": lines,
    "facets": facets,
    "scatter": scatter,
    "groups": groups,
    "bars": groups,
    "dots": dots,
    "curves": curves,
    "with_costs": with_costs,
}
"""The kinds of figure that a sweep can ask for. Each shows means; `seeds` and `learning` show single runs, and
`confusion` shows predictions. Old plans call `groups` by its former name, `bars`."""
NAMES = tuple(name for name in KINDS if name != "bars")
"""The kinds without former names."""

# Files hold neither dates nor versions: the same numbers give the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
# The font type 42 embeds the fonts as TrueType.
_SAVING: Any = {"pdf.fonttype": 42, "svg.hashsalt": "lightning-xvol", "savefig.dpi": 300}


def write(ax: Axes, path: Path) -> None:
    """Save the figure of `ax` atomically. The suffix of `path` chooses the format: pdf, png or svg."""
    files.write_bytes(path, content(ax, path.suffix.removeprefix(".")))


def content(ax: Axes, kind: str) -> bytes:
    """The figure of `ax` as a file of the format `kind`: pdf, png or svg."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes belong to no figure")
    file = io.BytesIO()
    with settings(_SAVING):
        figure.savefig(file, format=kind, metadata=_METADATA[kind])
    return file.getvalue()
