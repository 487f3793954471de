"""Legends that are filled line by line. They stand above the axes, where they cover no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import text
from analysis.figures.style import Size

# In sizes of the legend's font:
_HANDLE, _BEFORE_TEXT, _BETWEEN, _EDGE = 1.8, 0.5, 1.2, 0.3
LINE = 0.15
"""The height of a line of a legend in inches, at a font of 8 points."""


class Sheet(Figure):
    """A figure that this package makes. Its legend and its caption belong to the whole figure."""


def label(row: str) -> str:
    """`row` as a label of the legend. A space protects `_name`, because matplotlib hides labels with an underscore."""
    return f" {row}" if row.startswith("_") else row


def handles(axes: Sequence[Axes]) -> dict[str, Any]:
    """The handles of a legend by the name of their row, each once."""
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(name.removeprefix(" "), handle)
    return found


def columns(labels: Sequence[str], size: Size) -> int:
    """The number of columns of a legend of `labels`: the fewest with which it has as few lines as possible."""
    font = size.rc()["legend.fontsize"]
    widths = [text.width(name, font, size.style) + (_HANDLE + _BEFORE_TEXT) * font for name in labels]
    room = 72 * size.width - 2 * _EDGE * font - 6
    fitting = [number for number in range(1, len(labels) + 1) if _length(widths, number, font) <= room]
    lines = -(-len(labels) // max(fitting, default=1))
    return next((number for number in fitting if -(-len(labels) // number) == lines), 1)


def _length(widths: list[float], columns: int, font: float) -> float:
    """The width of a legend that is filled line by line."""
    return sum(max(widths[start::columns]) for start in range(columns)) + _BETWEEN * font * (columns - 1)


def lines(labels: Sequence[str], size: Size) -> int:
    return -(-len(labels) // columns(labels, size)) if labels else 0


def add(axes: Sequence[Axes], size: Size, title: str = "") -> None:
    """Add the legend of `axes`, read line by line: on top of our own figure, else above the first of the axes."""
    found = handles(axes)
    if not found:
        return
    number = columns(list(found), size)
    # matplotlib fills a legend column by column.
    order = [name for start in range(number) for name in list(found)[start::number]]
    figure = axes[0].get_figure(root=True)
    look: Any = {
        "ncols": number, "frameon": False, "title": title or None, "title_fontsize": size.rc()["legend.fontsize"],
        "handlelength": _HANDLE, "handletextpad": _BEFORE_TEXT, "columnspacing": _BETWEEN, "borderpad": _EDGE,
        "borderaxespad": 0.1,
    }  # fmt: skip
    if isinstance(figure, Sheet):
        figure.legend([found[name] for name in order], order, loc="outside upper center", **look)
    else:
        axes[0].legend([found[name] for name in order], order, loc="lower left", bbox_to_anchor=(-0.02, 1.0), **look)
