"""How figures look: sizes and fonts, and the colour, marker and dash of each row, which are the same in every figure.

The colours are those of Okabe and Ito, which people with any kind of colour vision can tell apart. The yellow is
darker than theirs, which is too faint on white.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace
from typing import Any

from lightning_xvol.errors import UserError, nearest

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#B5A400", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip

SANS = "sans"
FONTS = {SANS: ("DejaVu Sans",), "serif": ("STIXGeneral", "DejaVu Serif")}
"""The fonts of each style; a later font supplies letters that an earlier one lacks. They are part of matplotlib, so
that figures are the same on every machine. STIX looks like Times."""


@dataclass(frozen=True)
class Size:
    """The size of a figure.

    Attributes:
        width: In inches.
        height: In inches.
        font: The size of the text in points. Lines and markers scale with it.
        fixed: Whether the figure keeps its shape. If its contents need more height, it becomes wider too. A slide then
            shows the whole figure smaller.
        exact: Whether the figure keeps its width and height, whatever its contents need.
        style: The font, one of `FONTS`.
    """

    width: float
    height: float
    font: float = 8.0
    fixed: bool = False
    exact: bool = False
    style: str = SANS

    @property
    def scale(self) -> float:
        return self.font / 8.0

    def with_height(self, height: float) -> Size:
        """This size with room for contents that are `height` inches high if their text has 8 points."""
        height *= self.scale
        if self.exact:
            return self
        if not self.fixed:
            return replace(self, height=height)
        factor = max(1.0, height / self.height)
        return replace(self, width=self.width * factor, height=self.height * factor)

    def rc(self) -> Any:
        """The settings of matplotlib."""
        scaled = {name: value * self.scale for name, value in _SCALED.items()}
        return {**_FIXED, "font.family": list(FONTS[self.style]), **scaled}


SIZES = {
    "column": Size(3.5, 2.9),
    "page": Size(7.2, 2.9),
    "slide": Size(6.3, 3.54, font=10.0, fixed=True),
}
"""One column of a paper, both columns, and a slide of 16:9 in the size of LaTeX's beamer."""
LEAST, MOST = 1.0, 40.0
"""The shortest and the longest side of a figure in inches."""


def read_size(size: Any) -> Size:
    """The size that `size` stands for: a name in `SIZES`, `3.5x2.4`, or a pair of numbers, in inches.

    Raises:
        UserError: for anything else, and where a side is shorter than `LEAST` or longer than `MOST`.
    """
    if isinstance(size, str) and size in SIZES:
        return SIZES[size]
    try:
        width, height = map(float, size.split("x") if isinstance(size, str) else size)
    except (TypeError, ValueError):
        close = nearest(size, SIZES) if isinstance(size, str) else ""
        raise UserError(
            f"size={size!r} must be a width and a height in inches, such as 3.5x2.4, or one of {', '.join(SIZES)}"
            f"{close}"
        ) from None
    for side in (width, height):
        if not LEAST <= side <= MOST:
            raise UserError(f"size={size!r} must have a width and a height of {LEAST:g} to {MOST:g} inches")
    return Size(width, height, exact=True)


_FIXED: dict[str, Any] = {
    "text.parse_math": False,  # names may contain a dollar
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
    """The look of a row. A hollow row has white markers and bars."""

    color: str
    marker: str
    linestyle: str = "-"
    hollow: bool = False

    @property
    def fill(self) -> str:
        return "white" if self.hollow else self.color


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
    "paired_convolution": Style(SKY, "<"),  # its second kernel is 1x1
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
# Convolution, X-volution, PSSA and their controls, the rows of most sweeps, have other colours. YELLOW is too faint.
_OTHER_COLORS = (ORANGE, SKY, PURPLE)
_KNOWN = {(look.color, look.marker) for look in _STYLES.values()}
_OTHERS = [pair for pair in itertools.product(_OTHER_COLORS, _OTHER_MARKERS) if pair not in _KNOWN]


def style(operator: str) -> Style:
    """The look of a row by its name in the sweep.

    Known names have a fixed look. The hash of any other name chooses among the remaining looks. A variant of a known
    name (`pssa_position`) has the colour of that name. Controls (`*_static`) are dashed and hollow.
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
