"""A confusion matrix: how many images of each class are taken for which class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.ticker import FixedLocator

from analysis import numbers
from analysis.figures import common, text
from analysis.figures.chart import Chart
from analysis.figures.common import COLUMN
from analysis.figures.style import Size
from lightning_xvol.visualize.style import SEQUENTIAL

_NUMBERED = 20  # up to so many classes, each cell has its number
_NAMED = 100  # up to so many classes, each has its name on the axes
_PITCH = 6.6  # the least height of a line of names, in points at a font of 8 points
_CHARACTER = 0.6  # the average width of a character, in ems
_AROUND = 1.0  # inches for the colours, the labels of the axes and the note
_SHARES = (0, 1, 5, 20, 50, 100)
_DARK = 30.0  # from this share on, in percent, numbers are white


def confusion(chart: Chart, ax: Axes | None = None) -> Axes:
    """Draw the matrix with a row per true class and a column per predicted class, coloured by the share of the row.

    `chart.data` has a row per true class with a column per predicted class, the number of images in each, and the names
    of the classes as its index. `chart.x_label` says whose predictions they are. Up to 20 classes, cells have numbers.
    Beyond 100 classes, some names are left out.
    """
    counts = chart.data.to_numpy(dtype=float)
    names = [text.shortened(str(name)) for name in chart.data.index]
    images = counts.sum(axis=1, keepdims=True)
    shares = 100 * np.divide(counts, images, out=np.full_like(counts, np.nan), where=images > 0)
    size = chart.sized(_size_for(names))
    step = math.ceil(len(names) / _NAMED)
    with common.drawing(size, ax) as ax:
        colors = LinearSegmentedColormap.from_list("confusion", SEQUENTIAL).with_extremes(bad="0.85")
        image = ax.imshow(shares, cmap=colors, norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
        pitch = _pitch(size, names) * step
        font = min(size.rc()["xtick.labelsize"], 0.85 * pitch)
        shown = range(0, len(names), step)
        upright = max(map(len, names)) * _CHARACTER * font > pitch
        ax.set_xticks(shown, [names[at] for at in shown], rotation=90 if upright else 0, fontsize=font)
        ax.set_yticks(shown, [names[at] for at in shown], fontsize=font)
        ax.tick_params(length=2 if step == 1 and len(names) <= _NUMBERED else 1, pad=1.5)
        ax.spines[["top", "right"]].set_visible(True)
        ax.set_xlabel("predicted class")
        if len(names) <= _NUMBERED:
            _write_numbers(ax, counts, shares, min(size.font, 0.32 * pitch))
        figure: Any = ax.get_figure(root=True)
        bar = figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
        bar.set_label("share of the true class (%)")
        bar.locator = FixedLocator(_SHARES)
        bar.minorlocator = FixedLocator([])
        bar.update_ticks()
        ax.set_ylabel(chart.y_label)
        common.caption([ax], chart, _remark(chart, counts, images), size)
        if chart.smoke:  # not on the axes, where it would cover a number
            figure.text(0.99, 0.99, "SMOKE", ha="right", va="top", color="0.5", fontweight="bold")
    return ax


def _size_for(names: list[str]) -> Size:
    """A column of a paper, or as large as the names of the classes need."""
    lines = min(len(names), _NAMED)
    pitch = 15.0 if lines <= _NUMBERED else max(_PITCH, 15.0 * _NUMBERED / lines)
    beside = _beside(names, min(7.5, 0.85 * pitch))
    width = max(COLUMN.width, lines * pitch / 72 + beside + _AROUND)
    side = width - beside - _AROUND
    return Size(width, side + beside + 0.75, COLUMN.font)


def _beside(names: list[str], font: float) -> float:
    """The room of the longest name, in inches."""
    return max(map(len, names)) * _CHARACTER * font / 72


def _pitch(size: Size, names: list[str]) -> float:
    """About how many points the figure has for each class."""
    side = min(size.width, size.height) - _beside(names, 0.85 * _PITCH * size.scale) - _AROUND * size.scale
    return max(0.5, 72 * side / len(names))


def _write_numbers(ax: Axes, counts: np.ndarray, shares: np.ndarray, font: float) -> None:
    whole = bool((counts == counts.round()).all())
    for row, column in zip(*np.nonzero(counts), strict=True):
        value = counts[row, column]
        text = f"{value:.0f}" if whole else numbers.number(value)
        color = "white" if shares[row, column] >= _DARK else "black"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=font)


def _remark(chart: Chart, counts: np.ndarray, images: np.ndarray) -> str:
    text = f"{chart.x_label}. Colour: share of the images of the true class, on a square-root scale"
    if len(counts) <= _NUMBERED:
        text += "; numbers: images"
    return text + ("; grey: no images of the class" if (images == 0).any() else "")
