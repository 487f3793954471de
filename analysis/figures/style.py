"""How figures look: sizes and fonts, and a colour, marker and dash for each row label, the same in every figure.

Colours are those of Okabe and Ito, told apart with any kind of colour vision.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace
from typing import Any

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Of a figure: width and height in inches, and of its text in points, which lines and marks follow.

    `fixed`: it keeps its shape. What needs more height makes it wider too, so that on a slide everything is smaller.
    """

    width: float
    height: float
    font: float = 8.0
    fixed: bool = False

    @property
    def scale(self) -> float:
        return self.font / 8.0

    def with_height(self, height: float) -> Size:
        """`height` inches for text of 8 points: as high as that, or as large where the shape is fixed."""
        height *= self.scale
        if not self.fixed:
            return replace(self, height=height)
        factor = max(1.0, height / self.height)
        return replace(self, width=self.width * factor, height=self.height * factor)

    def rc(self) -> Any:
        """matplotlib's settings."""
        scaled = {name: value * self.scale for name, value in _SCALED.items()}
        return {**_FIXED, **scaled}


SIZES = {
    "column": Size(3.5, 2.9),
    "page": Size(7.2, 2.9),
    "slide": Size(6.3, 3.54, font=10.0, fixed=True),
}
"""One column of a paper, both, and a slide of 16:9, which is as large as beamer's."""

_FIXED: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "text.parse_math": False,  # a name may hold a dollar
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_SCALED = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 4.0,
}


@dataclass(frozen=True)
class Style:
    color: str
    marker: str
    linestyle: str = "-"
    hollow: bool = False


_STYLES = {
    "convolution": Style(BLUE, "o"),
    "multi_convolution": Style(SKY, "h"),
    "aa_convolution": Style(PURPLE, "P"),
    "involution": Style(YELLOW, "X"),
    "self_attention": Style(ORANGE, "^"),
    "pssa": Style(GREEN, "D"),
    "pssa_static": Style(GREEN, "d", "--", hollow=True),
    "pssa_raw": Style(YELLOW, "D"),
    "pssa_hadamard": Style(PURPLE, "p"),
    "pssa_hadamard_no_value": Style(SKY, "p"),
    "pssa_channel_static": Style(PURPLE, "d", "--", hollow=True),
    "pssa_dense": Style(VERMILLION, "p"),
    "pssa_1": Style(SKY, "<"),
    "pssa_3": Style(ORANGE, ">"),
    "pssa_5": Style(PURPLE, "^"),
    "xvolution": Style(VERMILLION, "s"),
    "xvolution_static": Style(BLACK, "v", "--", hollow=True),
    "xvolution_sa": Style(ORANGE, "s"),
    "xvolution_inv": Style(YELLOW, "s"),
    "wide_convolution": Style(BLUE, "p"),
    "static_1x1": Style(BLACK, ".", ":"),
    "paired_convolution": Style(SKY, "<"),  # whose second kernel is 1x1
    "convolution_1x1": Style(SKY, "<"),
    "convolution_11x11": Style(SKY, "p"),
    "se_convolution": Style(PURPLE, "o"),
    "xvolution_pointwise": Style(BLACK, "p", "--", hollow=True),
    "xvolution_softmax": Style(GREEN, "s"),
    "xvolution_linear": Style(ORANGE, "p"),
    "xvolution_frozen": Style(VERMILLION, "p", "--", hollow=True),
}
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
_OTHER_MARKERS = ("<", ">", "p", "*", "8", "H")
# None is that of a row of most sweeps (convolution, X-volution, PSSA and controls); YELLOW is too faint for a line.
_OTHER_COLORS = (ORANGE, SKY, PURPLE)
_KNOWN = {(look.color, look.marker) for look in _STYLES.values()}
_OTHERS = [pair for pair in itertools.product(_OTHER_COLORS, _OTHER_MARKERS) if pair not in _KNOWN]


def style(operator: str) -> Style:
    """The look of a row label: fixed for those we know, drawn from its hash for others, among what those leave.

    A variant of a known one (`pssa_position`) has its colour. Controls (`*_static`) are dashed and hollow.
    """
    if operator in _STYLES:
        return _STYLES[operator]
    digest = hashlib.sha256(operator.encode()).digest()
    color, marker = _OTHERS[int.from_bytes(digest) % len(_OTHERS)]
    families = [name for name in _STYLES if operator.startswith(f"{name}_")]
    if families:
        color, marker = _STYLES[max(families, key=len)].color, _OTHER_MARKERS[digest[1] % len(_OTHER_MARKERS)]
    control = operator.endswith("_static")
    return Style(color, marker, "--" if control else "-", control)
