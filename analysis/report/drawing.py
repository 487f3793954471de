"""The figures of a sweep as parts of a page."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.render import FIGURES
from analysis.sweep import figures as sweep_figures
from analysis.sweep.overview import Overview
from lightning_xvol.visualize.style import settings

_PIXELS_PER_POINT = 1.5  # text of 8 points becomes 12 pixels
_SMALLEST = 1.2  # text of 8 points keeps at least 9.6 pixels; on a narrower screen the figure scrolls
_NAMES = re.compile(r'(\bid="|\bhref="#|url\(#)')


@dataclass(frozen=True)
class Drawing:
    """A figure on the page.

    Attributes:
        svg: The figure as inline SVG.
        width: Its width in CSS pixels.
        least: The smallest width at which its text can be read.
        caption: The caption.
        rows: The names of the rows that it shows.
    """

    svg: Markup
    width: int
    least: int
    caption: str
    rows: str


def draw(overview: Overview, anchor: str) -> dict[str, Drawing]:
    """The figures of a sweep by their name in `FIGURES`. A figure without runs is left out.

    `anchor` makes the ids of the figures unique on the page.

    Raises:
        UserError: if the sweep asks for an unknown kind of figure.
    """
    sweep, summary = overview.layout, overview.summary
    metric = _capital(sweep.metric_label)
    by_epoch = _capital(sweep_figures.metric_by_epoch(overview))
    x = sweep.figure_x
    against = f" against {sweep.axis_label(x)}" if x else ""
    captions = {
        "figure": f"{by_epoch} by epoch" if sweep.figure.get("kind") == "curves" else f"{metric}{against}",
        "seeds": f"{metric} of every run{against}",
        "learning": f"{by_epoch} after each epoch",
    }
    rows = "; ".join(summary["row"].drop_duplicates())
    drawings = {}
    for name in FIGURES:
        try:
            figure: Any = sweep_figures.figure(overview, name).get_figure(root=True)
        except sweep_figures.NothingToDrawError:
            continue
        width = 72 * figure.get_figwidth()
        svg = Markup(inline_svg(figure, f"{anchor}-{name}"))  # matplotlib escapes labels
        drawings[name] = Drawing(svg, round(_PIXELS_PER_POINT * width), round(_SMALLEST * width), captions[name], rows)
    return drawings


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def inline_svg(figure: Figure, prefix: str) -> str:
    """`figure` as SVG that keeps text as text. Its ids begin with `prefix`, so that one page can hold many figures."""
    file = io.BytesIO()
    with settings({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = file.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    # The style sheet of an SVG would apply to the whole page. The page's own style sheet has the same rules.
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    return re.sub("<[^>]*>", lambda tag: _NAMES.sub(rf"\1{prefix}-", tag[0]), svg)
