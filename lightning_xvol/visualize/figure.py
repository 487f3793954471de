"""The figure of a trained network: receptive fields, kernels and tap weights from top to bottom, and a caption.

It is as wide as one column of a paper.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy

from lightning_xvol.ledger import files
from lightning_xvol.visualize import draw, style
from lightning_xvol.visualize.content import SHARE, Content
from lightning_xvol.visualize.dynamic_kernel import Windows
from lightning_xvol.visualize.tap_weights import TapWeights

ROSES = 8  # at most this many heads are drawn
_FIELDS, _KERNELS, _ROSES = 1.36, 0.98, 1.02  # heights of the rows in inches


def rows(content: Content) -> list[str]:
    """The rows that apply, from (a) on."""
    kinds = ["fields"]
    kinds += ["kernels"] if isinstance(content.kernels, Windows) else []
    return kinds + (["taps"] if isinstance(content.taps, TapWeights) else [])


def compose(content: Content) -> Any:
    """The figure of `content`."""
    from matplotlib.figure import Figure

    heights = {"fields": _FIELDS, "kernels": _KERNELS, "taps": _ROSES * _rose_rows(content)}
    chosen = rows(content)
    with style.settings():
        figure = Figure(figsize=(style.COLUMN, sum(heights[kind] for kind in chosen)), layout="constrained")
        parts = figure.subfigures(len(chosen), 1, height_ratios=[heights[kind] for kind in chosen], squeeze=False)
        for letter, kind, part in zip(string.ascii_lowercase, chosen, parts[:, 0], strict=False):
            title = _DRAW[kind](part, content)
            part.suptitle(f"({letter}) {title}", x=0.01, ha="left", fontsize=7.5, fontweight="bold")
    return figure


def _fields(part: Any, content: Content) -> str:
    axes = _axes(part, len(content.fields), columns=max(3, len(content.fields)))
    for ax, found in zip(axes, content.fields, strict=True):
        draw.receptive_field(
            found.field.numpy(), found.centre, found.side, title=f"stage {found.stage}: {found.side} px", ax=ax
        )
    _scale(axes[-1], axes[-1].images[0], "relative gradient")
    return "Effective receptive field"


def _kernels(part: Any, content: Content) -> str:
    found: Any = content.kernels
    norms = ([("$w^c$", found.static)] if found.static is not None else []) + [
        (f"{'$w^A + w^c$' if found.static is not None else '$w^A$'}, {number}", window)
        for number, window in enumerate(found.dynamic, start=1)
    ]
    largest = max(float(numpy.nanmax(window.numpy())) for _, window in norms)
    axes = _axes(part, 1 + len(norms), columns=5)
    draw.image(content.image.numpy(), content.pixels, title="image", ax=axes[0])
    for ax, (title, window) in zip(axes[1:], norms, strict=True):
        draw.kernel(window.numpy(), largest, title=title, ax=ax)
    _scale(axes[-1], axes[-1].images[0], "norm")
    side = 2 * found.reach + 1
    return f"Dynamic kernel, {side} × {side}, stage {content.shown.stage}"


def _taps(part: Any, content: Content) -> str:
    found: Any = content.taps
    axes = _axes(part, _roses(found), columns=4, subplot_kw={"projection": "polar"})
    values = [found.rings.abs().max()] + ([] if found.centre is None else [found.centre.abs().max()])
    largest = float(max(values))
    for group, ax in enumerate(axes):
        centre = None if found.centre is None else float(found.centre[group])
        title = f"head {group + 1}" if found.signed else ""
        draw.rose(found.rings[group].numpy(), centre, largest, signed=found.signed, title=title, ax=ax)
    last = axes[min(4, len(axes)) - 1]
    _scale(last, last.collections[0], "weight" if found.signed else "r.m.s. weight")
    distances = ", ".join(map(str, found.distances))
    return f"Tap weights, distances {distances}, stage {content.shown.stage}"


def _axes(part: Any, count: int, columns: int, **kwargs: Any) -> list[Any]:
    """`count` axes in rows of `columns`, from the left. Their size does not depend on `count`."""
    every = list(part.subplots(-(-count // columns), columns, squeeze=False, **kwargs).flat)
    for ax in every[count:]:
        ax.set_visible(False)
    return every[:count]


def _scale(ax: Any, shown: Any, label: str) -> None:
    """The colour bar of a row, to the right of `ax` and as high."""
    ax.figure.colorbar(shown, cax=ax.inset_axes((1.07, 0.0, 0.08, 1.0)), label=label)


_DRAW = {"fields": _fields, "kernels": _kernels, "taps": _taps}


def _roses(taps: TapWeights) -> int:
    return min(len(taps.rings), ROSES)


def _rose_rows(content: Content) -> int:
    return -(-_roses(content.taps) // 4) if isinstance(content.taps, TapWeights) else 0


def caption(content: Content) -> str:
    """What the figure shows, and what it leaves out and why."""
    letters = dict(zip(rows(content), string.ascii_lowercase, strict=False))
    images = "image" if content.averaged == 1 else "images"
    fields = (
        f"{content.name}. ({letters['fields']}) Effective receptive field of the last operator of each stage: absolute "
        f"gradient of its centre output with respect to the image, averaged over {content.averaged} {images}, relative "
        f"to the largest value, on a log scale. The square holds {SHARE:.0%} of the field; its side is given."
    )
    return " ".join([fields, _kernel_caption(content, letters), _tap_caption(content, letters)])


def _kernel_caption(content: Content, letters: dict[str, str]) -> str:
    if not isinstance(content.kernels, Windows):
        return f"No dynamic kernel is shown: {content.kernels}."
    alone = ", next to the static $w^c$" if content.kernels.static is not None else " (it has no static part)"
    return (
        f"({letters['kernels']}) Norm over the channels of the dynamic kernel of the operator at {content.shown.path}, "
        f"at the numbered positions of the image{alone}; grey: no tap, +: the position itself."
    )


def _tap_caption(content: Content, letters: dict[str, str]) -> str:
    taps = content.taps
    if not isinstance(taps, TapWeights):
        return f"No tap weights are shown: {taps}."
    kind = "Weight per head" if taps.signed else "Root mean square over the channels of the weight"
    centre = ", the tap at the position itself in the middle" if taps.centre is not None else ""
    cut = f"; the first {ROSES} of {len(taps.rings)} heads" if len(taps.rings) > ROSES else ""
    return (
        f"({letters['taps']}) {kind} of each tap of the operator at {content.shown.path}, in its direction, the "
        f"smallest distance innermost{centre}{cut}."
    )


def write(figure: Any, path: Path) -> None:
    """Save `figure` atomically in the format of the suffix."""
    kind = path.suffix.removeprefix(".")
    with style.settings():
        files.write_by(path, lambda file: figure.savefig(file, format=kind, metadata=style.METADATA[kind]))
