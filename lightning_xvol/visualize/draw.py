"""One function per panel: it takes arrays and optional axes, draws, and returns the axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from lightning_xvol.kernels.spec import DIRECTIONS
from lightning_xvol.visualize import style

DECADES = 3  # the range of the log scale of receptive fields


def sequential() -> Any:
    """White to dark blue, and grey for missing values."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("xvol_sequential", style.SEQUENTIAL).with_extremes(bad=style.NO_TAP)


def diverging() -> Any:
    """Blue over white to vermillion."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("xvol_diverging", style.DIVERGING)


def new_axes(**kwargs: Any) -> Any:
    """Axes on a new figure."""
    from matplotlib.figure import Figure

    with style.settings():
        return Figure(figsize=(style.COLUMN / 2, style.COLUMN / 2), layout="constrained").subplots(**kwargs)


def receptive_field(
    field: numpy.ndarray, centre: tuple[int, int], side: int | None = None, *, title: str = "", ax: Any = None
) -> Any:
    """A field `[H, W]` relative to its largest value, on a log scale, with a square of `side` around `centre`."""
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    ax = new_axes() if ax is None else ax
    # Values below the scale are white, also exact zeros.
    shown = numpy.maximum(field / max(field.max(), 1e-30), 10.0**-DECADES)
    ax.imshow(shown, cmap=sequential(), norm=LogNorm(10.0**-DECADES, 1), interpolation="nearest")
    if side is not None:
        corner = centre[1] - side / 2, centre[0] - side / 2
        ax.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=style.VERMILLION, linewidth=0.9))
    _bare(ax)
    ax.set_title(title)
    return ax


def image(pixels: numpy.ndarray, marks: Sequence[tuple[int, int]] = (), *, title: str = "", ax: Any = None) -> Any:
    """An image `[C, H, W]` with its values stretched to 0..1, and numbered marks at pixels (row, column)."""
    ax = new_axes() if ax is None else ax
    low, high = float(pixels.min()), float(pixels.max())
    shown = (pixels - low) / max(high - low, 1e-9)
    colour = len(shown) == 3
    ax.imshow(shown.transpose(1, 2, 0) if colour else shown.mean(0), cmap="gray", vmin=0, vmax=1)
    for number, (row, column) in enumerate(marks, start=1):
        ax.plot(column, row, "o", color=style.VERMILLION, markersize=5.5, markeredgecolor="white", markeredgewidth=0.5)
        ax.text(
            column, row, str(number), color="white", fontsize=5, fontweight="bold", ha="center", va="center_baseline"
        )
    _bare(ax)
    ax.set_title(title)
    return ax


def kernel(norms: numpy.ndarray, largest: float, *, title: str = "", ax: Any = None) -> Any:
    """The norms of a kernel's taps in their window `[K, K]`, from 0 to `largest`; grey without a tap."""
    ax = new_axes() if ax is None else ax
    ax.imshow(norms, cmap=sequential(), vmin=0, vmax=largest, interpolation="nearest")
    middle = (len(norms) - 1) / 2
    ax.plot(middle, middle, "+", color=style.VERMILLION, markersize=4, markeredgewidth=0.7)
    _bare(ax)
    ax.set_title(title)
    return ax


def rose(
    rings: numpy.ndarray, centre: float | None, largest: float, *, signed: bool, title: str = "", ax: Any = None
) -> Any:
    """Weights `[L, 8]` as rings of eight sectors, one per direction, the smallest distance innermost.

    The colours go from -`largest` to `largest` if `signed`, else from 0 to `largest`. `ax` must be polar.
    """
    ax = new_axes(subplot_kw={"projection": "polar"}) if ax is None else ax
    colors, low = (diverging(), -largest) if signed else (sequential(), 0.0)
    order = sorted(range(8), key=lambda tap: _angle(*DIRECTIONS[tap]))
    edges = numpy.array([_angle(*DIRECTIONS[tap]) for tap in order] + [2 * math.pi]) - math.pi / 8
    look: Any = {"cmap": colors, "vmin": low, "vmax": largest, "edgecolors": "0.7", "linewidth": 0.3}
    ax.pcolormesh(edges, numpy.arange(1, len(rings) + 2), rings[:, order], **look)
    if centre is not None:
        around = numpy.linspace(0, 2 * math.pi, 33)
        ax.pcolormesh(around, [0, 1], numpy.full((1, 32), centre), cmap=colors, vmin=low, vmax=largest)
    ax.set_ylim(0, len(rings) + 1)
    ax.set_axis_off()
    ax.plot(0, 0, "+", color=style.VERMILLION, markersize=4, markeredgewidth=0.7)
    ax.set_title(title, y=1.0, pad=1.0)  # a polar axis leaves room for labels, which are off
    return ax


def _angle(down: int, right: int) -> float:
    """Angle of a direction, counter-clockwise from the right, 0 to 2 pi. Up in the plot is up in the image."""
    return math.atan2(-down, right) % (2 * math.pi)


def _bare(ax: Any) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
