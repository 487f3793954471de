"""The figures of modes `scaling` and `growth`.

matplotlib is imported only to draw, because the package does not require it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.growth_tables import memory_column
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
    return _write(lambda: draw_scaling(rows, note, smoke), stem)


def write_growth(rows: Sequence[Mapping[str, Any]], note: str, smoke: bool, stem: Path) -> list[Path]:
    """Draw `growth.measure`'s rows and save them as `write_scaling` does."""
    return _write(lambda: draw_growth(rows, note, smoke), stem)


def _write(draw: Callable[[], Any], stem: Path) -> list[Path]:
    with style.settings(_RC):
        drawn = draw()
    paths = _paths(stem)
    for path in paths:
        figure.write(drawn, path)
    return paths


def _paths(stem: Path) -> list[Path]:
    return [stem.with_name(f"{stem.name}.{suffix}") for suffix in style.FORMATS]


def left_out(stem: Path) -> str:
    """Say that there is no figure at `stem`, and remove an older one, which would not show what the table shows."""
    older = [path for path in _paths(stem) if path.is_file()]
    for path in older:
        path.unlink(missing_ok=True)
    return f"{MISSING}; an older figure of other numbers is removed" if older else MISSING


def draw_scaling(rows: Sequence[Mapping[str, Any]], note: str, smoke: bool) -> Any:
    """A line per operator on two logarithmic axes, with quartiles as bars and the exponent in the legend."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    drawn = Figure(figsize=(3.5, 2.9), layout="constrained")
    ax = drawn.subplots()
    for name, (color, marker) in _styles(rows).items():
        points = [row for row in rows if row["operator"] == name]
        middle, bars = _spread(points, "forward_")
        ax.errorbar(
            [row["pixels"] for row in points], middle, yerr=bars, color=color, marker=marker, markersize=4,
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


def _styles(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """The colour and the marker of each operator."""
    others = iter(_OTHERS * len(rows))
    return {name: _STYLES.get(name) or next(others) for name in dict.fromkeys(row["operator"] for row in rows)}


def _spread(points: Sequence[Mapping[str, Any]], prefix: str) -> tuple[list[float], list[list[float]]]:
    """The medians, and the lengths of the bars to the lower and to the upper quartile."""
    middle = [row[f"{prefix}ms"] for row in points]
    low = [row[f"{prefix}ms"] - row[f"{prefix}q1_ms"] for row in points]
    high = [row[f"{prefix}q3_ms"] - row[f"{prefix}ms"] for row in points]
    return middle, [low, high]


# The sizes of mode `growth`: the column of each axis, and its name.
_SIZES = {"batch": ("batch", "batch"), "side": ("pixels", "pixels"), "depth": ("blocks", "blocks")}


def draw_growth(rows: Sequence[Mapping[str, Any]], note: str, smoke: bool) -> Any:
    """Draw time above memory, with a column for each axis and a line for each operator. Panels show the exponents."""
    from matplotlib.figure import Figure

    memory = memory_column(rows)
    axes = list(dict.fromkeys(row["axis"] for row in rows))
    drawn = Figure(figsize=(7.2, 5.0), layout="constrained")
    panels = drawn.subplots(2, len(axes), squeeze=False, sharex="col", sharey="row")
    styles = _styles(rows)
    labels = {row["operator"]: row["label"] for row in rows}
    for column, axis in enumerate(axes):
        here = [row for row in rows if row["axis"] == axis]
        for name, (color, marker) in styles.items():
            points = [row for row in here if row["operator"] == name and "step_ms" in row]
            if not points:
                continue
            sizes = [row[_SIZES[axis][0]] for row in points]
            look: Any = {"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.0}
            middle, bars = _spread(points, "step_")
            panels[0, column].plot(sizes, middle, label=_exponent(points, "time"), **look)
            panels[0, column].errorbar(sizes, middle, yerr=bars, fmt="none", ecolor=color, elinewidth=1, capsize=2)
            kept = [row[memory] / 1e6 for row in points]
            panels[1, column].plot(sizes, kept, label=_exponent(points, "memory"), **look)
        for panel in panels[:, column]:
            _logarithmic(panel, here, axis)
        panels[1, column].set_xlabel(_SIZES[axis][1])
    panels[0, 0].set_ylabel("training step, ms")
    panels[1, 0].set_ylabel("peak, MB" if memory == "peak_bytes" else "kept for backward, MB")
    drawn.legend(handles=list(_samples(styles, labels)), loc="outside upper left", ncols=4, frameon=False, fontsize=8)
    drawn.supxlabel(f"cost = a size$^p$, p in the panels, bars: quartiles\n{note}", fontsize=6, color="0.35")
    if smoke:
        panels[0, 0].text(
            0.98, 0.04, "SMOKE", transform=panels[0, 0].transAxes, ha="right", color="0.5", fontweight="bold"
        )
    return drawn


def _samples(styles: Mapping[str, tuple[str, str]], labels: Mapping[str, str]) -> Iterator[Any]:
    """A piece of each operator's line, for the legend of the figure."""
    from matplotlib.lines import Line2D

    for name, (color, marker) in styles.items():
        yield Line2D([], [], color=color, marker=marker, markersize=4, linewidth=1.1, label=labels[name])


def _exponent(points: Sequence[Mapping[str, Any]], cost: str) -> str:
    return f"{points[0][f'{cost}_exponent']:.2f}"


def _logarithmic(panel: Any, rows: Sequence[Mapping[str, Any]], axis: str) -> None:
    """Set two logarithmic axes with plain numbers, the measured sizes below, and the exponents in a corner."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    panel.set_xscale("log")
    panel.set_yscale("log")
    sizes = list(dict.fromkeys((row[_SIZES[axis][0]], row["side"]) for row in rows))
    texts = [f"{side}\N{SUPERSCRIPT TWO}" if axis == "side" else str(size) for size, side in sizes]
    panel.set_xticks([size for size, _ in sizes], texts)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(labelsize=6.5)
    panel.grid(color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.legend(
        loc="upper left", title="p", frameon=False, fontsize=7, title_fontsize=7, handlelength=1.2, labelspacing=0.25
    )
