"""The shapes at which operators are measured: those of the 3x3 convolutions of a ResNet-50. No torch here.

The sizes of mode `growth` are here too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lightning_xvol.errors import UserError, nearest


@dataclass(frozen=True)
class Shape:
    """An operator's input `[batch, channels, height, width]`; its output has the same shape."""

    name: str
    batch: int
    channels: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def columns(self) -> dict[str, int]:
        """The columns of a row that say at which shape it was measured."""
        return {"batch": self.batch, "channels": self.channels, "height": self.height, "width": self.width}

    def __str__(self) -> str:
        return f"{self.batch}x{self.channels}x{self.height}x{self.width}"


def _at_stage(image: str, batch: int, height: int, width: int, stage: int) -> Shape:
    """Stages 2 to 5 have 64 to 512 channels and strides of 4 to 32."""
    scale = 2**stage
    return Shape(f"{image}-stage{stage}", batch, 16 * scale, -(-height // scale), -(-width // scale))


CLASSIFICATION = tuple(_at_stage("224", 8, 224, 224, stage) for stage in (2, 3, 4, 5))
DETECTION = tuple(_at_stage("800", 1, 800, 1333, stage) for stage in (2, 3, 4, 5))
SHAPES = {shape.name: shape for shape in (*CLASSIFICATION, *DETECTION)}
GROUPS = {"224": CLASSIFICATION, "800": DETECTION, "all": (*CLASSIFICATION, *DETECTION)}
DEFAULT = ("224-stage3", "224-stage4", "224-stage5")
BANDWIDTH = ("64x256x56x56",)  # 100 MB a map in bfloat16
SMOKE = ("2x16x7x7",)


@dataclass(frozen=True)
class Growth:
    """The sizes of mode `growth`. Each axis varies alone; the others stay at the base.

    Attributes:
        base: the size on each axis while another one varies.
        batch: images of a batch.
        side: height and width of an image in pixels.
        depth: factors by which the blocks of each stage of the recipe's network are multiplied.
    """

    base: Mapping[str, int]
    batch: tuple[int, ...]
    side: tuple[int, ...]
    depth: tuple[int, ...]

    @property
    def axes(self) -> dict[str, tuple[int, ...]]:
        """The sizes by axis."""
        return {"batch": self.batch, "side": self.side, "depth": self.depth}


GROWTH = Growth(
    base={"batch": 16, "side": 32, "depth": 1},
    batch=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    side=(32, 48, 64, 96, 128, 176, 224),
    depth=(1, 2, 4, 8),
)
SMOKE_GROWTH = Growth(base={"batch": 2, "side": 16, "depth": 1}, batch=(1, 2, 4), side=(16, 24, 32), depth=(1, 2))


def parse(texts: Iterable[str]) -> list[Shape]:
    """The shapes that `texts` name, each once: by name, by group (224, 800, all) or as BxCxHxW.

    Raises:
        UserError: for any other text.
    """
    shapes: dict[Shape, None] = {}
    for text in texts:
        shapes.update(dict.fromkeys(_parse(text)))
    return list(shapes)


def _parse(text: str) -> tuple[Shape, ...]:
    if text in GROUPS:
        return GROUPS[text]
    if text in SHAPES:
        return (SHAPES[text],)
    if re.fullmatch(r"[1-9]\d*(x[1-9]\d*){3}", text):
        return (Shape(text, *map(int, text.split("x"))),)
    known = [*GROUPS, *SHAPES]
    raise UserError(
        f"--shapes {text!r} is not a shape{nearest(text, known)}; "
        f"known: {', '.join(known)}, or BxCxHxW such as 8x64x56x56"
    )
