"""Time against pixels as a figure. matplotlib is imported only to draw, because the package does not require it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_xvol.visualize import figure, style

LEGEND_LETTERS = 25  # the longest label of a legend in two columns
MISSING = "no figure: matplotlib is not installed (pip install matplotlib); the tables are written"

# The colours of the figures of sweeps.
_STYLES = {"pssa": (style.GREEN, "D"), "xvolution": (style.VERMILLION, "s"), "self_attention": (style.ORANGE, "^")}
_OTHERS = ((style.BLUE, "o"), ("#CC79A7", "P"), ("#56B4E9", "h"), (style.BLACK, "X"))
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
    """Draw `scaling.measure`'s rows and save them at `stem` with each suffix of `style.FORMATS`."""
    with style.settings(_RC):
        drawn = draw_scaling(rows, note, smoke)
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in style.FORMATS]
    for path in paths:
        figure.write(drawn, path)
    return paths


def draw_scaling(rows: Sequence[Mapping[str, Any]], note: str, smoke: bool) -> Any:
    """A line per operator on two logarithmic axes, with quartiles as bars and the exponent in the legend."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    drawn = Figure(figsize=(3.5, 2.9), layout="constrained")
    ax = drawn.subplots()
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
    drawn.legend(
        loc="outside upper left", ncols=columns, frameon=False, fontsize=7.5, handlelength=1.6, columnspacing=1.2
    )
    drawn.supxlabel(f"time = a pixels$^p$, bars: quartiles\n{note}", fontsize=6, color="0.35")
    if smoke:
        ax.text(0.98, 0.04, "SMOKE", transform=ax.transAxes, ha="right", color="0.5", fontweight="bold")
    return drawn
