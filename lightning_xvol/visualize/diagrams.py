"""The paper's Fig. 1, 2 and 4, drawn from the modules that a configuration builds.

Fig. 1 shows an operator in training and at inference, Fig. 2 its position in a residual block, Fig. 4 PSSA in detail.
The options of the operator change the drawing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lightning_xvol.backbones import build_backbone
from lightning_xvol.backbones.strides import Block, stage_blocks
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig, RunConfig
from lightning_xvol.errors import UserError
from lightning_xvol.fusion import AtomicXVolution, fuse
from lightning_xvol.fusion.pssa_term import PSSATerm
from lightning_xvol.fusion.static import Offset
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.convolution import Convolution
from lightning_xvol.visualize import layout, style
from lightning_xvol.visualize.structure import Box, Branches, Part, block_structure, outline, series, structure
from lightning_xvol.visualize.tap_weights import find_pssa

PLAIN = OperatorConfig("convolution")
NETWORKS = ("imagenet_resnet34", "imagenet_resnet50")  # of Fig. 2
_MAP = 13  # side of the map that is drawn for self-attention
_MARGIN = 2  # cells of the map that are drawn around the region
_CELL = 0.07  # inches
_STATIC = "#9cc7e3"
_APART = 0.2  # inches between panels
_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Flow:
    """A panel of boxes, from the input `enters` to the output `leaves`."""

    title: str
    part: Part
    enters: str = "x"
    leaves: str = "y"


@dataclass(frozen=True)
class Taps:
    """A panel of positions around x_0.

    Attributes:
        title: of the panel.
        dynamic: positions of w^A, drawn as dots.
        static: positions of w^c, drawn as cells.
        margin: cells of the map that are drawn around them.
        everywhere: w^A covers a map of any size; the panel shows a map of `_MAP` x `_MAP`.
    """

    title: str
    dynamic: frozenset[Offset]
    static: frozenset[Offset] = frozenset()
    margin: int = 0
    everywhere: bool = False

    @property
    def reach(self) -> int:
        return max((abs(step) for offset in self.dynamic | self.static for step in offset), default=0)

    @property
    def side(self) -> int:
        """Side of the panel in cells."""
        return 2 * (self.reach + self.margin) + 1

    def extent(self) -> str:
        """The number of positions and the size of their window, in words."""
        if self.everywhere:
            return "all positions of the map"
        return f"{len(self.dynamic | self.static)} positions in {self.side}{_TIMES}{self.side}"


Panel = Flow | Taps


@dataclass(frozen=True)
class Diagram:
    """A figure of the paper: its panels from the left, and its caption."""

    number: int
    panels: tuple[Panel, ...]
    caption: str


class NoPSSA(UserError):
    """Fig. 4 shows the structure of PSSA, and this operator has none."""


def diagram(number: int, config: RunConfig) -> Diagram:
    """Fig. `number` of the paper for the operator of `config`, with the channels of its last position in the network.

    Raises:
        NoPSSA: for Fig. 4 of an operator without PSSA.
        UserError: for a configuration that cannot be built.
    """
    if number == 2:
        return _replacement(config)
    label = registry.label("operator", config.operator.name)
    convolution: Any = _block(config.backbone, PLAIN).second
    channels = convolution.in_channels, convolution.out_channels
    operator = build_operator(config.operator.name, *channels, **config.operator.options).eval()
    if number == 1:
        return _training_and_inference(operator, label)
    pssa = find_pssa(operator)
    if pssa is None:
        raise NoPSSA(f"Fig. 4 shows the structure of PSSA, and {config.operator.name!r} contains no PSSA")
    taps = frozenset(pssa.spec.offsets)
    return Diagram(
        4,
        (Taps("shifts", taps, margin=_MARGIN), Flow("PSSA", structure(pssa))),
        f"The structure of PSSA ({pssa.spec.form}): {len(taps)} taps around x_0 in the map; j runs over them.",
    )


def _training_and_inference(operator: nn.Module, label: str) -> Diagram:
    training = Flow("training", outline(operator))
    atomic = _fused(operator)
    if isinstance(atomic, str):
        return Diagram(1, (training,), f"{label}, in training and at inference: {atomic}.")
    window = _window(atomic)
    panels: list[Panel] = [training, Flow("inference", _one_convolution(window)), window]
    if window.dynamic:
        panels.insert(0, Taps("map" if window.everywhere else "local region", window.dynamic, margin=_MARGIN))
    return Diagram(1, tuple(panels), " ".join(_told(label, window)))


def _fused(operator: nn.Module) -> AtomicXVolution | str:
    """The operator at inference, or the reason why it is the same as in training."""
    if isinstance(operator, Convolution):
        return "it is one convolution"
    try:
        fused = fuse(operator)
    except UserError as error:
        return f"it cannot be written as one convolution ({error})"
    return fused if isinstance(fused, AtomicXVolution) else "its parts do not become one"


def _told(label: str, window: Taps) -> Iterator[str]:
    if window.dynamic:
        yield f"{label}: the positions that its attention sees in the map (grey), its parts in training, and the one"
        yield f"convolution that they are at inference ({window.extent()}), with weights that depend on the input."
    else:
        yield f"{label}: its parts in training, and the one convolution that they are at inference"
        yield f"({window.extent()})."
    counts = (("dots", "w^A", window.dynamic), ("cells", "w^c", window.static))
    told = "; ".join(f"{mark}: {name}, {len(taps)} positions" for mark, name, taps in counts if taps)
    yield f"{told[:1].upper()}{told[1:]}" + (f" of a map of {_MAP} {_TIMES} {_MAP}." if window.everywhere else ".")


def _window(atomic: AtomicXVolution) -> Taps:
    """The kernel of a fused operator by Eq. 9: w^A, if it depends on the input, and w^c."""
    static = frozenset(offset for static in atomic.statics() for offset in static.offsets)
    term = atomic.term
    if term is None:
        return Taps("kernel", frozenset(), static)
    taps, wider = (frozenset(term.offsets((side, side), (side // 2, side // 2))) for side in (_MAP, _MAP + 2))
    if isinstance(term, PSSATerm) and not term.form.product:
        return Taps("kernel", frozenset(), static | taps)
    return Taps("kernel", taps, static, everywhere=taps != wider)


def _one_convolution(window: Taps) -> Part:
    """The fused operator as boxes (Eq. 9)."""
    whole = Box(f"convolution:\n{window.extent()}", "operator")
    fixed = Box("$w^c_i$, $b$:\nas trained", "convolution")
    if not window.dynamic:
        return series(fixed, whole)
    moving = Box("$w^A(x_0, x_i)$:\nfrom x", "attention")
    if not window.static:
        return series(moving, whole)
    return series(Branches((moving, fixed)), whole)


def _replacement(config: RunConfig) -> Diagram:
    label = registry.label("operator", config.operator.name)
    panels: list[Panel] = []
    told = []
    for name in NETWORKS:
        backbone = get_recipe(name).config().backbone
        block, plain = _block(backbone, config.operator), _block(backbone, PLAIN)
        network, stage = registry.label("backbone", backbone.name), f"conv{max(backbone.stages)}_x"
        kind = "bottleneck" if block.bottleneck else "basic block"
        for title, part in (
            (network, block_structure(plain, None)),
            (f"{network} with {label}", block_structure(block, label)),
        ):
            panels.append(Flow(f"({'abcd'[len(panels)]}) {title}", part))
        told.append(f"the {'middle' if block.bottleneck else 'last'} 3{_TIMES}3 of a {kind} in {network} ({stage})")
    return Diagram(2, tuple(panels), f"The position of {label}: it replaces {' and '.join(told)}.")


def _block(backbone: BackboneConfig, operator: OperatorConfig) -> Block:
    """The last residual block with the operator, on the meta device."""
    config = dataclasses.replace(backbone, places="block")
    with torch.device("meta"):
        network = build_backbone(config, operator, num_classes=1000)
    blocks = [block for _, _, found, _ in stage_blocks(network, backbone.stages) for block in found]
    if not blocks:
        raise UserError(f"{backbone.name!r} has no residual block in stages {backbone.stages}; choose another --recipe")
    return blocks[-1]


def compose(shown: Diagram) -> Any:
    """The matplotlib figure of a diagram; one unit of its axes is one inch."""
    from matplotlib.figure import Figure

    sizes = [_size(panel) for panel in shown.panels]
    width = sum(size[0] for size in sizes) + _APART * (len(sizes) - 1) + 0.2
    height = max(size[1] for size in sizes) + 0.3
    with style.settings():
        figure = Figure(figsize=(width, height))
        ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        ax.set_axis_off()
        left = 0.1
        for panel, (wide, high) in zip(shown.panels, sizes, strict=True):
            middle, top = left + wide / 2, height - 0.25 - (height - 0.3 - high) / 2
            ax.text(middle, top + 0.06, panel.title, ha="center", va="bottom", fontweight="bold")
            if isinstance(panel, Flow):
                _draw_flow(ax, panel, middle, top)
            else:
                _draw_taps(ax, panel, middle, top)
            left += wide + _APART
    return figure


def _size(panel: Panel) -> tuple[float, float]:
    title = layout.CHARACTER * 1.15 * len(panel.title)
    if isinstance(panel, Taps):
        side = _CELL * panel.side
        return max(side, title), side
    wide, high = layout.size(panel.part)
    return max(wide, title), high + 2 * (layout.GAP + layout.LINE)


def _draw_flow(ax: Any, panel: Flow, x: float, top: float) -> None:
    top -= layout.GAP + layout.LINE
    layout.caption_arrow(ax, x, top, panel.enters)
    layout.caption_arrow(ax, x, layout.draw(ax, panel.part, x, top), panel.leaves, below=True)


def _draw_taps(ax: Any, panel: Taps, x: float, top: float) -> None:
    from matplotlib.patches import Circle, Rectangle

    reach = panel.reach + panel.margin
    local = 2 * panel.reach + 1
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            corner = (x + (right - 0.5) * _CELL, top - (down + reach + 1) * _CELL)
            fill = _STATIC if (down, right) in panel.static else "0.9" if panel.margin else "white"
            ax.add_patch(Rectangle(corner, _CELL, _CELL, facecolor=fill, edgecolor="white", linewidth=0.5))
            if (down, right) in panel.dynamic:
                centre = (corner[0] + _CELL / 2, corner[1] + _CELL / 2)
                ax.add_patch(Circle(centre, 0.3 * _CELL, facecolor=style.VERMILLION))
    corner = (x - local / 2 * _CELL, top - (panel.margin + local) * _CELL)
    edge = style.GREEN if panel.margin else "0.4"
    ax.add_patch(Rectangle(corner, local * _CELL, local * _CELL, fill=False, edgecolor=edge, linewidth=0.9))
    ax.plot(x, top - (reach + 0.5) * _CELL, "+", color=style.BLACK, markersize=4, markeredgewidth=0.8)
