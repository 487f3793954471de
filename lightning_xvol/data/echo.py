"""Echo: along which axis does a noisy texture repeat? The embedded data set on which the query-key product helps.

A field of random binary cells of 2x2 pixels fills a 32x32 image. Along one of four axes (horizontal, vertical, the two
diagonals) every cell repeats the one `distance` pixels before it, but for a share `flip` of the cells, which are turned
over. The label is the axis, chance 25 %. A cell by itself, and any two that are not a multiple of `distance` apart, are
fair coins whatever the label: it lies in products of far cells alone, summed over the image.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy
import torch

from lightning_xvol.data.base import ImageData, TensorSplit, require_whole
from lightning_xvol.errors import UserError
from lightning_xvol.seeding import derive_seed

SIDE = 32
CELL = 2  # pixels
GRID = SIDE // CELL
# (down, right) of each axis; its place in this list is the label.
AXES = ((0, 1), (1, 0), (1, 1), (1, -1))
DISTANCES = range(2 * CELL, SIDE // 2 + 1, CELL)


class Echo(ImageData):
    """Echo, 4 classes, images [1, 32, 32].

    Args:
        root: not used, as nothing is read.
        download: not used.
        distance: pixels from a cell to its echo, down and to the side; even, 4 to 16.
        flip: the share of echoes that are turned over, below 0.5, at which nothing is left of them.
        noise: standard deviation of the gaussian noise on pixels that are 0 or 1.
        train_size: images for training; likewise the other two.
        validation_size: images for validation.
        test_size: images for the test.
        draw: another number gives other images. Splits and draws come from different random streams.
    """

    num_classes = len(AXES)
    image_shape = (1, SIDE, SIDE)

    def __init__(
        self,
        root: Path | None = None,
        *,
        download: bool = False,
        distance: int = 12,
        flip: float = 0.32,
        noise: float = 0.1,
        train_size: int = 6000,
        validation_size: int = 1000,
        test_size: int = 1000,
        draw: int = 0,
    ) -> None:
        super().__init__(root, download=download)
        if isinstance(distance, bool) or distance not in DISTANCES:
            raise UserError(f"data.options.distance={distance} must be one of {', '.join(map(str, DISTANCES))}")
        if not 0 <= flip < 0.5:
            raise UserError(f"data.options.flip={flip} must be a share from 0 to below 0.5")
        if not 0 <= noise < math.inf:
            raise UserError(f"data.options.noise={noise} must be a standard deviation, 0 or more")
        self.distance, self.flip, self.noise = int(distance), float(flip), float(noise)
        self.sizes = {
            "train": require_whole("train_size", train_size, 1),
            "validation": require_whole("validation_size", validation_size, 1),
            "test": require_whole("test_size", test_size, 1),
        }
        self.draw = require_whole("draw", draw, 0)

    def train(self) -> TensorSplit:
        return self._split("train")

    def validation(self) -> TensorSplit:
        return self._split("validation")

    def test(self) -> TensorSplit:
        return self._split("test")

    def _split(self, name: str) -> TensorSplit:
        return _split(self.draw, name, self.sizes[name], self.distance, self.flip, self.noise)


@functools.lru_cache(maxsize=6)  # two data sets: every cell of an inline sweep asks again
def _split(draw: int, split: str, size: int, distance: int, flip: float, noise: float) -> TensorSplit:
    # A stream for each purpose, image after image: a larger split begins with the images of a smaller one.
    labels = (_stream(draw, split, "labels").random_raw(size) % numpy.uint64(len(AXES))).astype(numpy.int64)
    cells = _uniform(draw, split, "cells", size) < 0.5  # [N, GRID, GRID]
    flips = _uniform(draw, split, "flips", size) < flip
    step = distance // CELL
    for label, (down, right) in enumerate(AXES):
        chosen = labels == label
        cells[chosen] = _repeat(cells[chosen], flips[chosen], down * step, right * step)
    images = cells.repeat(CELL, axis=1).repeat(CELL, axis=2)[:, None].astype(numpy.float32)
    if noise:
        generator = numpy.random.Generator(_stream(draw, split, "noise"))
        images += numpy.float32(noise) * generator.standard_normal(images.shape, dtype=numpy.float32)
    # A fair coin has mean and standard deviation 1/2.
    return TensorSplit(torch.from_numpy(2 * images - 1), torch.from_numpy(labels))


def _repeat(cells: numpy.ndarray, flips: numpy.ndarray, down: int, right: int) -> numpy.ndarray:
    """`cells` [N, GRID, GRID] in which each equals the one `down` and `right` before it, turned over where `flips`."""
    cells = cells.copy()
    rows, columns = numpy.arange(GRID), numpy.arange(GRID)
    # In the order of the axis, so that an echo is repeated in its turn.
    for place in range(down or right, GRID):
        if down:
            targets = columns[(columns >= right) & (columns < GRID + right)]
            cells[:, place, targets] = cells[:, place - down, targets - right] ^ flips[:, place, targets]
        else:
            cells[:, rows, place] = cells[:, rows, place - right] ^ flips[:, rows, place]
    return cells


def _uniform(draw: int, split: str, purpose: str, size: int) -> numpy.ndarray:
    words = _stream(draw, split, purpose).random_raw(size * GRID**2)
    return (words / 2.0**64).reshape(size, GRID, GRID)


def _stream(draw: int, split: str, purpose: str) -> numpy.random.Philox:
    return numpy.random.Philox(key=derive_seed("echo", draw, split, purpose))
