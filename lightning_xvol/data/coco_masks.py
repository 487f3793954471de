"""Converts COCO's segmentations to compressed run lengths and to pixels.

A segmentation is a list of polygons `[x1, y1, x2, y2, ...]`, or `{"size": [H, W], "counts": runs}`. The runs are a list
of numbers or compressed bytes. They go down the columns, and the first run is outside the object. COCO writes crowds as
lists of runs and everything else as polygons.
"""

from __future__ import annotations

from typing import Any

import numpy
from faster_coco_eval import mask as api

Segmentation = list[list[float]] | dict[str, Any]


def valid_polygons(segmentation: list[list[float]]) -> list[list[float]]:
    """The polygons with at least three points, as in Detectron2. COCO's code takes two points for a box."""
    return [polygon for polygon in segmentation if len(polygon) >= 6 and len(polygon) % 2 == 0]


def to_rle(segmentation: Segmentation, height: int, width: int) -> dict[str, Any]:
    """Compressed run lengths `{"size": [H, W], "counts": bytes}` of a segmentation of an image `height` x `width`."""
    if isinstance(segmentation, list):
        return api.merge(api.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return api.frPyObjects(segmentation, height, width)
    return segmentation


def encode(masks: numpy.ndarray) -> list[dict[str, Any]]:
    """Compressed run lengths of each of `masks` [N, H, W]."""
    return api.encode(numpy.asfortranarray(masks.transpose(1, 2, 0).astype(numpy.uint8)))


def decode(rle: dict[str, Any]) -> numpy.ndarray:
    """Pixels [H, W] of compressed run lengths: 1 inside."""
    return api.decode(rle)


def box(rle: dict[str, Any]) -> list[float]:
    """`[x, y, width, height]` around the mask."""
    return [float(value) for value in api.toBbox(rle)]


def area(rle: dict[str, Any]) -> int:
    """The number of pixels inside."""
    return int(api.area(rle))


def to_mask(segmentation: Segmentation, size: tuple[int, int], new_size: tuple[int, int]) -> numpy.ndarray:
    """Pixels [H', W'] (1 inside) of a segmentation of an image of `size`, when that image is resized to `new_size`.

    Polygons are scaled before they become pixels, so they lose nothing. Run lengths take the nearest pixel.
    """
    (height, width), (new_height, new_width) = size, new_size
    if isinstance(segmentation, list):
        scale = numpy.array([new_width / width, new_height / height])
        polygons = [(numpy.reshape(polygon, (-1, 2)) * scale).ravel().tolist() for polygon in segmentation]
        return decode(to_rle(polygons, new_height, new_width))
    mask = decode(to_rle(segmentation, height, width))
    if size == new_size:
        return mask
    rows, columns = (
        ((numpy.arange(new) + 0.5) * (old / new)).astype(int) for old, new in zip(size, new_size, strict=True)
    )
    return mask[rows[:, None], columns]
