"""How figures look: fonts, and a colour, marker and dash for each row label, the same in every figure.

Colours are those of Okabe and Ito, told apart with any kind of colour vision.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.1,
    "lines.markersize": 4.0,
    "pdf.fonttype": 42,
    "svg.hashsalt": "lightning-xvol",
    "text.parse_math": False,  # labels are plain text, whatever characters they hold
    "savefig.dpi": 300,
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


def style(operator: str) -> Style:
    """The look of a row label: fixed for those we know, drawn from its hash for others.

    A variant of a known one (`pssa_position`) has its colour. Controls (`*_static`) are dashed and hollow.
    """
    if operator in _STYLES:
        return _STYLES[operator]
    digest = hashlib.sha256(operator.encode()).digest()
    color, marker = PALETTE[digest[0] % len(PALETTE)], _OTHER_MARKERS[digest[1] % len(_OTHER_MARKERS)]
    families = [name for name in _STYLES if operator.startswith(f"{name}_")]
    if families:
        color = _STYLES[max(families, key=len)].color
    control = operator.endswith("_static")
    return Style(color, marker, "--" if control else "-", control)
