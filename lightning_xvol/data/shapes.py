"""Draws textured shapes on a cluttered ground, with annotations in COCO's format.

A later shape hides the pixels of earlier ones, and these pixels leave the earlier masks. A shape that is partly hidden,
or has a hole, is annotated as run lengths. Lines, arcs, textures and noise do not depend on the category.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy
import PIL.Image
import PIL.ImageDraw
from numpy.random import Philox, RandomState

from lightning_xvol.data import coco_masks
from lightning_xvol.seeding import derive_seed

CATEGORIES = {1: "disc", 2: "square", 4: "triangle", 7: "star", 8: "bars", 11: "ring"}
SIDE = 192
# Circumscribed radius of a shape at 192 pixels. Only the categories that fill their circle become large objects.
RADII = {"small": (7, 13), "medium": (20, 40), "large": (72, 84)}
LARGE = (1, 2, 11)
VISIBLE = 0.6  # later shapes leave at least this part of a shape visible
TRIES = 20


@dataclass(frozen=True)
class Shapes:
    """What decides the pictures.

    Attributes:
        image_size: shorter side in pixels.
        aspect_ratios: width over height; the pictures take them in turn.
        draw: another number gives other random pictures.
    """

    image_size: int = SIDE
    aspect_ratios: tuple[float, ...] = (1.0,)
    draw: int = 0


@dataclass
class _Object:
    """One shape of a picture.

    Attributes:
        category: its id.
        polygons: its outline; None for a ring or a crowd.
        drawn: its pixels when it was drawn, bool [H, W].
        mask: the pixels that later shapes left visible, bool [H, W].
        crowd: whether it is a heap of shapes.
    """

    category: int
    polygons: list[list[float]] | None
    drawn: numpy.ndarray
    mask: numpy.ndarray
    crowd: bool = False


def draw_image(shapes: Shapes, split: str, index: int) -> tuple[PIL.Image.Image, list[dict[str, Any]]]:
    """Picture `index` of a split, and its annotations without ids. Both depend on the arguments alone."""
    # RandomState gives the same numbers in every version of numpy; a Generator does not.
    random = RandomState(Philox(key=derive_seed("shapes_coco", shapes.draw, split, index)))
    ratio = shapes.aspect_ratios[index % len(shapes.aspect_ratios)]
    size = shapes.image_size
    height, width = (size, round(size * ratio)) if ratio >= 1 else (round(size / ratio), size)
    canvas = _ground(random, height, width)
    objects: list[_Object] = []
    if index % 32 == 15 or random.rand() < 0.1:
        _place_crowd(random, canvas, objects, size / SIDE)
    if index % 32 not in (15, 31):  # these images have only a crowd, or nothing
        kinds = ["large"] * (index % 3 == 0) + ["medium"] * random.randint(1, 4) + ["small"] * random.randint(1, 5)
        for kind in kinds:
            _place(random, canvas, objects, kind, size / SIDE)
    canvas += random.normal(0, 8, canvas.shape)
    picture = PIL.Image.fromarray(canvas.clip(0, 255).astype(numpy.uint8))
    return picture, [_annotation(item, (height, width)) for item in objects]


def _ground(random: RandomState, height: int, width: int) -> numpy.ndarray:
    """A colour gradient with lines and arcs that are not objects: float [H, W, 3]."""
    corners = random.uniform(60, 200, (2, 2, 3)).astype(numpy.uint8)
    picture = PIL.Image.fromarray(corners).resize((width, height), PIL.Image.Resampling.BILINEAR)
    pen = PIL.ImageDraw.Draw(picture)
    for _ in range(random.randint(3, 9)):
        colour = tuple(random.randint(0, 256, 3).tolist())
        left, right = sorted(random.randint(0, width, 2).tolist())
        top, bottom = sorted(random.randint(0, height, 2).tolist())
        if random.rand() < 0.5:
            pen.line((left, top, right, bottom), colour, width=int(random.randint(1, 4)))
        else:
            start, end = sorted(random.uniform(0, 360, 2).tolist())
            pen.arc((left, top, right, bottom), start, end, colour)
    return numpy.array(picture, dtype=float)


def _place(random: RandomState, canvas: numpy.ndarray, objects: list[_Object], kind: str, scale: float) -> None:
    """Draw a shape at a position where the others stay visible enough; draw nothing if no position is found."""
    height, width = canvas.shape[:2]
    categories = LARGE if kind == "large" else tuple(CATEGORIES)
    for _ in range(TRIES):
        category = categories[random.randint(len(categories))]
        radius = random.uniform(*RADII[kind]) * scale
        centre = random.uniform(radius, width - radius), random.uniform(radius, height - radius)
        item = _shape(category, centre, radius, random.uniform(0, 2 * math.pi), (height, width))
        if _hide(objects, item.mask):
            _paint(random, canvas, item.mask)
            objects.append(item)
            return


def _hide(objects: list[_Object], mask: numpy.ndarray) -> bool:
    """Remove `mask` from the visible pixels of `objects`; if too little would be left, change nothing, return False."""
    left = [item.mask & ~mask for item in objects]
    if any(rest.sum() < VISIBLE * item.drawn.sum() for rest, item in zip(left, objects, strict=True)):
        return False
    for rest, item in zip(left, objects, strict=True):
        item.mask = rest
    return True


def _place_crowd(random: RandomState, canvas: numpy.ndarray, objects: list[_Object], scale: float) -> None:
    """Draw a heap of shapes of one category, annotated as one crowd."""
    height, width = canvas.shape[:2]
    category = list(CATEGORIES)[random.randint(len(CATEGORIES))]
    reach = 28 * scale
    middle = random.uniform(reach + 12 * scale, [width - reach - 12 * scale, height - reach - 12 * scale])
    heap = numpy.zeros((height, width), dtype=bool)
    for _ in range(random.randint(6, 11)):
        x, y = (middle + random.uniform(-reach, reach, 2)).tolist()
        item = _shape(category, (x, y), random.uniform(6, 12) * scale, random.uniform(0, 2 * math.pi), (height, width))
        _paint(random, canvas, item.mask)
        heap |= item.mask
    objects.append(_Object(category, None, heap, heap, crowd=True))


def _shape(category: int, centre: tuple[float, float], radius: float, angle: float, size: tuple[int, int]) -> _Object:
    """A shape of `category`, within `radius` of `centre` (x, y)."""
    outlines = [
        (numpy.array(centre) + radius * points @ _rotation(angle)).round(2) for points in _outline(CATEGORIES[category])
    ]
    polygons = [points.ravel().tolist() for points in outlines]
    mask = coco_masks.decode(coco_masks.to_rle(polygons, *size)).astype(bool)
    if CATEGORIES[category] != "ring":
        return _Object(category, polygons, mask, mask)
    # COCO's polygons cannot have holes, so a ring needs run lengths.
    inner = (numpy.array(centre) + 0.5 * (outlines[0] - centre)).ravel().tolist()
    mask &= ~coco_masks.decode(coco_masks.to_rle([inner], *size)).astype(bool)
    return _Object(category, None, mask, mask)


def _outline(name: str) -> list[numpy.ndarray]:
    """Corners [N, 2] of each part of a shape within the unit circle."""
    if name == "bars":
        long, near, far = 0.85, 0.15, 0.5
        bar = numpy.array([(-long, near), (long, near), (long, far), (-long, far)])
        return [bar, -bar]
    corners = {"disc": 24, "ring": 24, "square": 4, "triangle": 3, "star": 10}[name]
    turns = numpy.arange(corners) * 2 * math.pi / corners
    points = numpy.stack([numpy.cos(turns), numpy.sin(turns)], axis=1)
    if name == "star":
        points[1::2] *= 0.45
    return [points]


def _rotation(angle: float) -> numpy.ndarray:
    return numpy.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def _paint(random: RandomState, canvas: numpy.ndarray, mask: numpy.ndarray) -> None:
    """Fill `mask` with stripes or checks of two colours, or with one colour, whatever the category."""
    colours = random.uniform(0, 255, (2, 3))
    period = random.uniform(4, 12)
    angle = random.uniform(0, math.pi)
    pattern = random.randint(3)
    rows, columns = numpy.nonzero(mask)
    along, across = (
        numpy.floor((columns * math.cos(turn) + rows * math.sin(turn)) / period)
        for turn in (angle, angle + math.pi / 2)
    )
    choice = (0 * along, along % 2, (along + across) % 2)[pattern]
    canvas[mask] = colours[choice.astype(int)]


def _annotation(item: _Object, size: tuple[int, int]) -> dict[str, Any]:
    """COCO's annotation: a list of runs for a crowd, polygons for a whole shape, compressed run lengths otherwise."""
    rle = coco_masks.encode(item.mask[None])[0]
    if item.crowd:
        segmentation: Any = {"size": list(size), "counts": _runs(item.mask)}
    elif item.polygons is not None and item.mask.sum() == item.drawn.sum():
        segmentation = item.polygons
    else:
        segmentation = {"size": list(size), "counts": rle["counts"].decode()}
    return {
        "category_id": item.category,
        "bbox": coco_masks.box(rle),
        "area": coco_masks.area(rle),
        "iscrowd": int(item.crowd),
        "segmentation": segmentation,
    }


def _runs(mask: numpy.ndarray) -> list[int]:
    """Lengths of the runs down the columns; the first run is outside the mask."""
    flat = numpy.concatenate([[0], mask.ravel(order="F").astype(numpy.int8), [-1]])
    edges = numpy.flatnonzero(numpy.diff(flat))
    return numpy.diff(numpy.concatenate([[0], edges])).tolist()
