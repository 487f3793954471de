"""A sweep's figure as part of a page."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis import figures, sweep_table
from analysis.overview import Overview
from analysis.sources.collection import Collection
from lightning_xvol.errors import UserError

_PIXELS_PER_POINT = 1.5  # text of 8 points becomes 12 pixels
_SMALLEST = 1.2  # below 9.6 pixels the figure is scrolled rather than shrunk
_NAMES = re.compile(r'(\bid="|\bhref="#|url\(#)')


@dataclass(frozen=True)
class Drawing:
    """An inline SVG with its width in CSS pixels, the least at which it can be read, and what it shows in words."""

    svg: Markup
    width: int
    least: int
    caption: str
    rows: str


def draw(sources: Collection, overview: Overview, anchor: str) -> list[Drawing]:
    """The figures of a sweep, none where it asks for none. `anchor` makes their ids the page's own.

    Raises:
        UserError: for a kind of figure that there is not.
    """
    sweep, summary = overview.sweep, overview.summary
    kind = sweep.figure.get("kind")
    if kind is None:
        return []
    if kind not in figures.KINDS:
        raise UserError(f"sweep {sweep.name!r} asks for a figure {kind!r}; known kinds: {', '.join(figures.KINDS)}")
    points, x, label = sweep_table.points(sources, sweep, overview.frame, summary)
    ax = figures.KINDS[kind](points, x, label, sweep.metric_label, smoke=sweep.smoke)
    metric = sweep.metric_label[:1].upper() + sweep.metric_label[1:]
    figure: Any = ax.get_figure(root=True)
    points_wide = 72 * figure.get_figwidth()
    drawing = Drawing(
        Markup(inline_svg(figure, anchor)),  # matplotlib escapes labels
        round(_PIXELS_PER_POINT * points_wide),
        round(_SMALLEST * points_wide),
        f"{metric} against {label}" if label else metric,
        "; ".join(summary["row"].drop_duplicates()),
    )
    return [drawing]


def inline_svg(figure: Figure, prefix: str) -> str:
    """`figure` with its text as text. Its ids begin with `prefix`, so that many figures share one page."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    # Its style sheet would hold for the whole page, whose own says the same.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    return re.sub("<[^>]*>", lambda tag: _NAMES.sub(rf"\1{prefix}-", tag[0]), svg)
