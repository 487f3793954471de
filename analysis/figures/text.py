"""Texts of figures: their width in the fonts of a figure, and their lines."""

from __future__ import annotations

import functools
import warnings

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from analysis.figures.style import FONTS, Size

NOTE = 7.0
"""The size of a caption in points, at a font of 8 points."""
LONGEST = 24  # characters of a turned name on an axis


@functools.lru_cache(maxsize=10_000)
def width(text: str, points: float, style: str) -> float:
    """The width of one line of `text` in points. It does not depend on matplotlib's settings."""
    font = FontProperties(
        family=list(FONTS[style]), style="normal", variant="normal", weight="normal", stretch="normal", size=points
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a letter that no font has; saving the figure warns again
        return float(TextToPath().get_text_width_height_descent(text, font, ismath=False)[0])


def widest(texts: list[str], points: float, style: str) -> float:
    return max((width(text, points, style) for text in texts), default=0.0)


def wrapped(text: str, room: float, points: float, style: str) -> str:
    """`text` in lines of at most `room` points. Lines break between words."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width(longer, points, style) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def balanced(text: str, room: float, points: float, style: str) -> str:
    """`text` in as few lines of at most `room` points as possible. The lines are about equally long."""
    lines = wrapped(text, room, points, style).count("\n") + 1
    whole = width(text, points, style)
    tried = (wrapped(text, whole * part / 20, points, style) for part in range(20 // lines, 21))
    fitting = (found for found in tried if found.count("\n") < lines)
    return next(fitting, wrapped(text, room, points, style))


def in_two(name: str) -> str:
    """`name` in two lines, broken at the space or plus that is nearest to its middle; without one, as it is."""
    places = [at for at, letter in enumerate(name) if letter in " +" and at > 0]
    if not places:
        return name
    at = min(places, key=lambda at: abs(at - len(name) / 2))
    return f"{name[:at]}\n{name[at:].lstrip()}"


def shortened(name: str) -> str:
    """`name`, with an ellipsis at its end if it is long."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"


def caption(text: str, size: Size, room: float | None = None) -> str:
    """The lines of a caption as wide as the figure, or `room` points wide."""
    return wrapped(text, 72 * size.width - 8 if room is None else room, NOTE * size.scale, size.style)


def symbol(label: str) -> str:
    """The short name of an axis in a title: `K` of `kernel size K`, `distance` of `distance (pixels)`."""
    name = label.partition(" (")[0]
    last = name.rpartition(" ")[2]
    return last if len(last) == 1 and last.isupper() else name


def value_of(label: str, value: object) -> str:
    """A value of an axis in a title or legend: `K = 3`."""
    return f"{symbol(label)} = {value}" if label else str(value)
