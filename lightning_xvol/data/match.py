"""Match-to-sample: the embedded data set, fully procedural.

A random binary pattern of 4x4 cells is in the middle of a canvas of 32x32 pixels. Four candidates lie `distance` pixels
to its left, to its right, above and below it. One candidate equals the pattern in the middle; the label says which one.

Only a comparison across that distance gives the label (chance is 25 %), so the data set measures the reach of an
operator. It does not show that attention helps beyond its reach: X-volution without its product solves it as well.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy
import torch

from lightning_xvol.data.base import ImageData, TensorSplit, require_whole
from lightning_xvol.errors import UserError
from lightning_xvol.seeding import derive_seed

CELLS = 4  # a side of the pattern
PATCH = 8  # the same in pixels: a cell is 2x2
# (vertical, horizontal) direction of each candidate; its index in this tuple is the label.
DIRECTIONS = ((0, -1), (0, 1), (-1, 0), (1, 0))


class Match(ImageData):
    """Match-to-sample, 4 classes, images [1, canvas, canvas].

    Args:
        root: not used; the images are computed.
        download: not used.
        distance: pixels between the centres of the middle pattern and a candidate. Below 8 they would overlap; above
            canvas / 2 - 4 a candidate would leave the canvas.
        noise: standard deviation of the gaussian noise on pixels that are 0 or 1.
        train_size: images for training. A larger split begins with the images of a smaller one.
        validation_size: images for validation.
        test_size: images for the test.
        draw: another number gives other random images. Each split of each number has its own random stream.
        canvas: side of an image in pixels, a multiple of 4, at least 24. Its map at stride 4 is canvas / 4 wide.
    """

    num_classes = len(DIRECTIONS)
    classes = ("left", "right", "above", "below")

    def __init__(
        self,
        root: Path | None = None,
        *,
        download: bool = False,
        distance: int = 12,
        noise: float = 0.1,
        train_size: int = 6000,
        validation_size: int = 1000,
        test_size: int = 1000,
        draw: int = 0,
        canvas: int = 32,
    ) -> None:
        super().__init__(root, download=download)
        self.canvas = require_whole("canvas", canvas, 3 * PATCH)
        if canvas % CELLS:
            raise UserError(f"data.options.canvas={canvas} must be a multiple of {CELLS}")
        distances = range(PATCH, _middle(canvas) + 1)
        if isinstance(distance, bool) or distance not in distances:
            raise UserError(f"data.options.distance={distance} must be one of {', '.join(map(str, distances))}")
        if not 0 <= noise < math.inf:
            raise UserError(f"data.options.noise={noise} must be a standard deviation, 0 or more")
        self.distance = int(distance)
        self.noise = float(noise)
        self.train_size = require_whole("train_size", train_size, 1)
        self.validation_size = require_whole("validation_size", validation_size, 1)
        self.test_size = require_whole("test_size", test_size, 1)
        self.draw = require_whole("draw", draw, 0)
        self.image_shape = (1, canvas, canvas)

    @classmethod
    def declared(cls, **options: Any) -> tuple[int, tuple[int, int, int]]:
        return cls.num_classes, (1, options["canvas"], options["canvas"])

    def train(self) -> TensorSplit:
        return _split(self.draw, "train", self.train_size, self.distance, self.noise, self.canvas)

    def validation(self) -> TensorSplit:
        return _split(self.draw, "validation", self.validation_size, self.distance, self.noise, self.canvas)

    def test(self) -> TensorSplit:
        return _split(self.draw, "test", self.test_size, self.distance, self.noise, self.canvas)


@functools.lru_cache(maxsize=6)  # two data sets, because every cell of a sweep in one process asks for its data again
def _split(draw: int, split: str, size: int, distance: int, noise: float, canvas: int) -> TensorSplit:
    codes, labels = _patterns(draw, split, size)
    images = numpy.zeros((size, 1, canvas, canvas), dtype=numpy.float32)
    middle = _middle(canvas)
    corners = [(middle, middle)]
    corners += [(middle + vertical * distance, middle + horizontal * distance) for vertical, horizontal in DIRECTIONS]
    pixels_per_cell = PATCH // CELLS
    for number, (top, left) in enumerate(corners):
        bits = (codes[:, number, None] >> numpy.arange(CELLS**2, dtype=numpy.uint64)) & numpy.uint64(1)
        cells = bits.reshape(size, CELLS, CELLS)
        patch = cells.repeat(pixels_per_cell, axis=1).repeat(pixels_per_cell, axis=2)
        images[:, 0, top : top + PATCH, left : left + PATCH] = patch
    if noise:
        generator = numpy.random.Generator(_stream(draw, split, "noise"))
        images += numpy.float32(noise) * generator.standard_normal(images.shape, dtype=numpy.float32)
    # The mean of a pixel without noise: half of the cells of five patterns are 1, everything else is 0.
    mean = 0.5 * len(corners) * PATCH**2 / canvas**2
    images -= numpy.float32(mean)
    images /= numpy.float32(math.sqrt(mean * (1 - mean)))
    return TensorSplit(torch.from_numpy(images), torch.from_numpy(labels))


def _middle(canvas: int) -> int:
    """The first row, and the first column, of the pattern in the middle."""
    return (canvas - PATCH) // 2


def _patterns(draw: int, split: str, size: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Codes [size, 5] of 16 bits (the middle, then the candidates in the order of the labels), and labels [size].

    Each image takes five words of one stream, so an image does not depend on how many there are. It does not depend on
    distance or noise either: data sets that differ only in these have the same patterns.
    """
    words = _stream(draw, split, "patterns").random_raw(size * 5).reshape(size, 5)
    states = numpy.uint64(2**CELLS**2)
    sample = words[:, 0] % states
    labels = (words[:, 1] % numpy.uint64(len(DIRECTIONS))).astype(numpy.int64)
    # A distractor is the sample with at least one cell flipped. Every other pattern is equally likely.
    flips = numpy.zeros((size, len(DIRECTIONS)), dtype=numpy.uint64)
    is_distractor = numpy.arange(len(DIRECTIONS)) != labels[:, None]
    flips[is_distractor] = (words[:, 2:] % (states - numpy.uint64(1)) + numpy.uint64(1)).reshape(-1)
    return numpy.concatenate([sample[:, None], sample[:, None] ^ flips], axis=1), labels


def _stream(draw: int, split: str, purpose: str) -> numpy.random.Philox:
    return numpy.random.Philox(key=derive_seed("match", draw, split, purpose))
