"""Recall: an attempt at data on which a product of query and key is needed. It is not a registered data set.

    python -m lightning_xvol fit --recipe fashion_small --operator pssa \\
        --set data.name=lightning_xvol.data.recall:Recall --set train.epochs=8

On a canvas of 36 x 36 pixels a cue is in the middle: an item of Fashion-MNIST, shrunk to 8 x 8. Four neighbours lie 12
pixels to its left, to its right, above and below it. One of them shows the cue's image again, the others show other
images. Each neighbour has a mark in one of its four corners, and no two have it in the same corner. The corner of the
neighbour that shows the cue's image is the class.

    . . . . . . . . . # . .      a neighbour: its image in the middle 8 x 8 of 12 x 12 pixels, and its mark of 2 x 2
    . . . . . . . . . . . .      in a corner, here in the upper right one
    . . image 8 x 8 . . . .

Chance is 25 %. Marks are a permutation of the corners, so a majority tells nothing (marks that are drawn independently
would give 53 %). The images of training, validation and test are disjoint, so that no image can be learned by heart.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from pathlib import Path

import numpy
import torch

from lightning_xvol.data.base import TensorSplit, require_whole
from lightning_xvol.data.fashion_mnist import SIDE, FashionMNIST, random_order
from lightning_xvol.data.match import DIRECTIONS
from lightning_xvol.errors import UserError
from lightning_xvol.seeding import derive_seed

CANVAS, PATCH, CELL, MARK = 36, 8, 12, 2
VERSION = 1  # of what is made from the images; it goes up with every change
TRAINING_PART = (5, 6)  # the part of the official training images from which training images are made
CORNERS = ((0, 0), (0, CELL - MARK), (CELL - MARK, 0), (CELL - MARK, CELL - MARK))
"""Row and column of a mark in the 12 x 12 pixels of a neighbour, by class."""
_PERMUTATIONS = numpy.array(list(itertools.permutations(range(len(CORNERS)))))  # [24, 4]
MEAN, STD = (0.0664,), (0.1995,)
"""Of the training pixels of seed 0, scaled to 0..1."""
_WORDS = 6  # random words of an image: the cue, three other images, which neighbour shows the cue, the marks


class Recall(FashionMNIST):
    """Recall, 4 classes, images [1, 36, 36]; the files are those of `FashionMNIST`.

    The seed of the run draws the training and the validation images. The test images, made from the official test
    images, are the same for every seed.

    Args:
        root: as in `FashionMNIST`.
        download: as in `FashionMNIST`.
        train_size: images for training. A larger split begins with the images of a smaller one.
        validation_size: images for validation.
        test_size: images for the test.
    """

    num_classes = len(CORNERS)
    image_shape = (1, CANVAS, CANVAS)

    def __init__(
        self,
        root: Path | None = None,
        *,
        download: bool = False,
        train_size: int = 8000,
        validation_size: int = 1000,
        test_size: int = 1000,
    ) -> None:
        super().__init__(
            root, download=download, augment=False, split="by_seed",
            train_size=train_size, validation_size=validation_size,
        )  # fmt: skip
        self.test_size = require_whole("test_size", test_size, 1)

    def train(self) -> TensorSplit:
        return self._made(self._sources()[0], self.sizes[0], "train", self.run_seed)

    def validation(self) -> TensorSplit:
        return self._made(self._sources()[1], self.sizes[1], "validation", self.run_seed)

    def test(self) -> TensorSplit:
        return self._made(self._shrunk[1], self.test_size, "test", 0)

    def digest(self) -> str:
        """Of all official images and the version of what is made from them."""
        return hashlib.sha256(f"recall {VERSION} {super().digest()}".encode()).hexdigest()

    @functools.cached_property
    def _shrunk(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The official training and test images at 8 x 8, [N, 8, 8]; each image once, in the order of the files."""
        train, test = (shrink(self._read(part).images.numpy()[:, 0]) for part in (True, False))
        together = numpy.concatenate([train, test]).reshape(-1, PATCH * PATCH)
        rows = numpy.ascontiguousarray(together).view(numpy.dtype((numpy.void, PATCH * PATCH)))[:, 0]
        first = numpy.sort(numpy.unique(rows, return_index=True)[1])
        border = int(numpy.searchsorted(first, len(train)))
        return train[first[:border]], test[first[border:] - len(train)]

    def _sources(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The images of training and of validation: two parts of the official training images, drawn by the seed."""
        images, _ = self._shrunk
        order = random_order(len(images), "recall", self.run_seed)
        border = len(images) * TRAINING_PART[0] // TRAINING_PART[1]
        return images[order[:border]], images[order[border:]]

    def _made(self, sources: numpy.ndarray, size: int, split: str, seed: int) -> TensorSplit:
        if len(sources) <= len(DIRECTIONS):
            raise UserError(
                f"recall needs more than {len(DIRECTIONS)} images for {split}, and there are {len(sources)}"
            )
        chosen, matching, marks = _draw(len(sources), size, split, seed)
        pictures = numpy.zeros((size, 1, CANVAS, CANVAS), dtype=numpy.uint8)
        middle = (CANVAS - PATCH) // 2
        pictures[:, 0, middle : middle + PATCH, middle : middle + PATCH] = sources[chosen[:, 0]]
        others = numpy.ones(size, dtype=numpy.int64)  # the next of the other images
        each = numpy.arange(size)
        for neighbour, (down, right) in enumerate(DIRECTIONS):
            matches = matching == neighbour
            shown = numpy.where(matches, chosen[:, 0], chosen[each, numpy.minimum(others, 3)])
            others += ~matches
            top, left = middle + down * CELL, middle + right * CELL
            pictures[:, 0, top : top + PATCH, left : left + PATCH] = sources[shown]
            margin = (CELL - PATCH) // 2
            for corner, (row, column) in enumerate(CORNERS):
                rows, columns = top - margin + row, left - margin + column
                marked = marks[:, neighbour] == corner
                pictures[marked, 0, rows : rows + MARK, columns : columns + MARK] = 255
        labels = marks[each, matching]
        return TensorSplit(torch.from_numpy(pictures), torch.from_numpy(labels), MEAN, STD)


def shrink(images: numpy.ndarray) -> numpy.ndarray:
    """Images [N, 28, 28] at 8 x 8: means of 4 x 4 pixels after a border of 2 black pixels, in whole numbers."""
    border = (4 * PATCH - SIDE) // 2
    padded = numpy.pad(images, ((0, 0), (border, border), (border, border))).astype(numpy.uint32)
    sums = padded.reshape(-1, PATCH, 4, PATCH, 4).sum((2, 4))
    return ((sums + 8) // 16).astype(numpy.uint8)


def _draw(count: int, size: int, split: str, seed: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """For each image: four different sources, the neighbour that shows the first of them (the cue), and the marks.

    Their shapes are [size, 4], [size] and [size, 4]. An image takes its own words of one stream, so it does not depend
    on how many there are.
    """
    stream = numpy.random.Philox(key=derive_seed("recall", split, seed))
    words = stream.random_raw(size * _WORDS).reshape(size, _WORDS)
    chosen = numpy.zeros((size, len(DIRECTIONS)), dtype=numpy.int64)
    for number in range(len(DIRECTIONS)):
        drawn = (words[:, number] % numpy.uint64(count - number)).astype(numpy.int64)
        for taken in numpy.sort(chosen[:, :number], axis=1).T:
            drawn += drawn >= taken  # without replacement
        chosen[:, number] = drawn
    matching = (words[:, 4] % numpy.uint64(len(DIRECTIONS))).astype(numpy.int64)
    marks = _PERMUTATIONS[(words[:, 5] % numpy.uint64(len(_PERMUTATIONS))).astype(numpy.int64)]
    return chosen, matching, marks
