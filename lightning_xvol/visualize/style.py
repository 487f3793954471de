"""Colours and matplotlib settings of the figures. The colours are those of `analysis/figures/style.py`.

Importing this module does not import matplotlib.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

FORMATS = ("png", "pdf", "svg")
BLACK, BLUE, VERMILLION, GREEN, ORANGE = "#000000", "#0072B2", "#D55E00", "#009E73", "#E69F00"  # Okabe and Ito
COLUMN = 3.5  # width of a column of a paper in inches
NO_TAP = "0.86"  # grey
RC: Any = {
    "font.family": "DejaVu Sans",  # matplotlib ships it, so that every machine draws the same
    "font.size": 7.0,
    "axes.titlesize": 7.0,
    "axes.titlepad": 3.0,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.0,
    "ytick.labelsize": 6.0,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "pdf.fonttype": 42,
    "svg.hashsalt": "lightning-xvol",
    "savefig.dpi": 300,
}
# Without dates and versions, the same numbers give the same bytes.
METADATA: dict[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
# From white to dark, and from blue over white to vermillion. The sequential one keeps its order in grey.
SEQUENTIAL = ("#ffffff", "#cfe5f3", "#7fb8dc", BLUE, "#00395a", "#001a2a")
DIVERGING = ("#003a5c", BLUE, "#8fc3e3", "#ffffff", "#f2b48a", VERMILLION, "#6e3000")


@contextlib.contextmanager
def settings(changes: Any = RC) -> Iterator[None]:
    """Until the block ends, matplotlib has its own defaults and `changes`; the user's matplotlibrc does not count."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(changes)
        yield
