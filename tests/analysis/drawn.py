"""What a drawn figure shows, as tests read it."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.lines import Line2D

from analysis.figures import marks


def note(ax: Axes) -> str:
    """The grey caption, in one line."""
    return " ".join(ax.get_figure(root=True).get_supxlabel().split())


def legend(ax: Axes) -> list[str]:
    """The texts of the legend, line by line."""
    [found] = ax.get_figure(root=True).legends
    columns, texts = found._ncols, [text.get_text() for text in found.get_texts()]
    lines = -(-len(texts) // columns)
    longer = len(texts) % columns or columns  # the first columns have one text more
    starts = [column * lines - max(0, column - longer) for column in range(columns)]
    return [
        texts[starts[column] + line]
        for line in range(lines) for column in range(columns)
        if line < lines - (column >= longer)
    ]  # fmt: skip


def names(ax: Axes) -> list[str]:
    """The names beside the points."""
    return [text.get_text() for text in ax.texts if text.get_text()]


def bars(ax: Axes) -> list[ErrorbarContainer]:
    return [container for container in ax.containers if isinstance(container, ErrorbarContainer)]


def intervals(ax: Axes, across: bool = False) -> list[list[float]]:
    """The ends of each interval."""
    segments = [segment for container in bars(ax) for segment in container.lines[2][0].get_segments()]
    return [sorted(segment[:, 0 if across else 1]) for segment in segments]


def rows(ax: Axes) -> dict[str, Line2D]:
    """The lines of the rows by their label."""
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def dots(ax: Axes) -> list[Line2D]:
    """The dots of single runs, a line of them for each configuration."""
    return [line for line in ax.get_lines() if line.get_label() == marks.RUNS]


def arrows(ax: Axes) -> list[Line2D]:
    return [line for line in ax.get_lines() if line.get_label() == marks.ARROWS]


def aside(line: Line2D) -> float:
    """How many points a line stands aside of its data."""
    ax = line.axes
    moved = line.get_transform().transform((0.0, 0.0)) - ax.transData.transform((0.0, 0.0))
    return float(72 * moved[0] / ax.get_figure(root=True).dpi)
