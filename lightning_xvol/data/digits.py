"""Real handwritten digits from scikit-learn: 1797 images of 8x8, enlarged. They need no network and no files.

They are the test half of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI 1998). Here two thirds are
for training and one third for validation, in the same proportion for every class.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy
import torch
from torch.nn import functional

from lightning_xvol.data.base import ImageData, TensorSplit, require_whole
from lightning_xvol.seeding import derive_seed

SIDE = 8


class Digits(ImageData):
    """Digits, 10 classes, images [1, image_size, image_size], enlarged bilinearly.

    The split into 1198 and 599 images is fixed: it depends on no option and on no seed of a run.

    Args:
        root: not used; the images come with scikit-learn.
        download: not used.
        image_size: side of an image, 8 or more.
    """

    num_classes = 10

    def __init__(self, root: Path | None = None, *, download: bool = False, image_size: int = 32) -> None:
        super().__init__(root, download=download)
        self.image_size = require_whole("image_size", image_size, SIDE)
        self.image_shape = (1, image_size, image_size)

    @classmethod
    def declared(cls, **options: Any) -> tuple[int, tuple[int, int, int]]:
        size = options["image_size"]
        return cls.num_classes, (1, size, size)

    def train(self) -> TensorSplit:
        return _splits(self.image_size)[0]

    def validation(self) -> TensorSplit:
        return _splits(self.image_size)[1]

    @staticmethod
    def digest() -> str:
        """Of the values as scikit-learn holds them. Enlarged ones differ in their last bits between processors."""
        from sklearn.datasets import load_digits

        values, labels = load_digits(return_X_y=True)
        return hashlib.sha256(values.astype("uint8").tobytes() + labels.astype("uint8").tobytes()).hexdigest()


@functools.lru_cache(maxsize=2)
def _splits(image_size: int) -> tuple[TensorSplit, TensorSplit]:
    from sklearn.datasets import load_digits  # this import takes a second; other data sets do not need it

    values, labels = load_digits(return_X_y=True)
    # Raw words of Philox, because numpy guarantees them in every version; it does not guarantee its permutations.
    keys = numpy.random.Philox(key=derive_seed("digits", "split")).random_raw(len(labels))
    by_class = numpy.lexsort((keys, labels))
    in_validation = numpy.zeros(len(labels), dtype=bool)
    # Every third image, sorted by class and random within a class: a third of each class, to within one image.
    in_validation[by_class[2::3]] = True
    shuffled = numpy.argsort(keys)  # so that the first images of a split (`data.limit`) cover all classes
    train, validation = shuffled[~in_validation[shuffled]], shuffled[in_validation[shuffled]]

    mean, std = values[train].mean(), values[train].std()
    pixels = torch.from_numpy((values - mean) / std).float().reshape(-1, 1, SIDE, SIDE)
    images = functional.interpolate(pixels, size=(image_size, image_size), mode="bilinear")
    split = TensorSplit(images, torch.from_numpy(labels))
    return split.take(train.tolist()), split.take(validation.tolist())
