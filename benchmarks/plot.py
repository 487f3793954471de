"""Time against pixels as a figure. matplotlib is imported when it is drawn; the package does not require it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_xvol.ledger import files

FORMATS = ("png", "pdf", "svg")
LEGEND_LETTERS = 25  # of a label, for two columns of them to fit
MISSING = "no figure: matplotlib is not installed (pip install matplotlib); the tables are written"

# Okabe and Ito's colours, the same as in the figures of sweeps.
_STYLES = {"pssa": ("#009E73", "D"), "xvolution": ("#D55E00", "s"), "self_attention": ("#E69F00", "^")}
_OTHERS = (("#0072B2", "o"), ("#CC79A7", "P"), ("#56B4E9", "h"), ("#000000", "X"))
_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "lightning-xvol",
}


def available() -> bool:
    """Whether matplotlib can be imported."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        return False
    return True


def write_scaling(rows: Sequence[Mapping[str, Any]], note: str, smoke: bool, stem: Path) -> list[Path]:
    """Draw `scaling.measure`'s rows and save them at `stem` with each suffix of `FORMATS`."""
    import matplotlib

    with matplotlib.rc_context(_RC):
        figure = draw_scaling(rows, note, smoke)
        paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in FORMATS]
        for path, suffix in zip(paths, FORMATS, strict=True):
            with files.replacing(path) as file:
                figure.savefig(file, format=suffix, dpi=300)
    return paths


def draw_scaling(rows: Sequence[Mapping[str, Any]], note: str, smoke: bool) -> Any:
    """Both axes logarithmic, a line per operator with its quartiles as bars and its exponent in the legend."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    figure = Figure(figsize=(3.5, 2.9), layout="constrained")
    ax = figure.subplots()
    others = iter(_OTHERS * len(rows))
    for name in dict.fromkeys(row["operator"] for row in rows):
        points = [row for row in rows if row["operator"] == name]
        color, marker = _STYLES.get(name) or next(others)
        middle = [row["forward_ms"] for row in points]
        low = [row["forward_ms"] - row["forward_q1_ms"] for row in points]
        high = [row["forward_q3_ms"] - row["forward_ms"] for row in points]
        ax.errorbar(
            [row["pixels"] for row in points], middle, yerr=[low, high], color=color, marker=marker, markersize=4,
            linewidth=1.1, capsize=2, label=f"{points[0]['label']}, p = {points[0]['exponent']:.2f}",
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    sides = list(dict.fromkeys(row["side"] for row in rows))
    ax.set_xticks([side * side for side in sides], [f"{side}\N{SUPERSCRIPT TWO}" for side in sides])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("pixels")
    ax.set_ylabel("forward, ms")
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
    longest = max(len(text) for text in ax.get_legend_handles_labels()[1])
    columns = 2 if longest <= LEGEND_LETTERS else 1
    figure.legend(
        loc="outside upper left", ncols=columns, frameon=False, fontsize=7.5, handlelength=1.6, columnspacing=1.2
    )
    figure.supxlabel(f"time = a pixels$^p$, bars: quartiles\n{note}", fontsize=6, color="0.35")
    if smoke:
        ax.text(0.98, 0.04, "SMOKE", transform=ax.transAxes, ha="right", color="0.5", fontweight="bold")
    return figure
