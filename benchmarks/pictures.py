"""Generated JPEGs in ImageNet's folders, which stand in for the real pictures and are about as large."""

from __future__ import annotations

from pathlib import Path

import numpy
import PIL.Image

CLASSES = 4
SIZES = ((500, 375), (500, 333), (375, 500), (480, 360))


def make_pictures(root: Path, count: int, seed: int) -> float:
    """Write `count` training pictures in `CLASSES` folders, and a validation picture per class.

    Each picture has clouds of several scales and some noise: about 110 kB at ImageNet's usual
    size, like ImageNet's own.

    Returns:
        The mean size of a training picture in bytes.
    """
    generator = numpy.random.default_rng(seed)
    total = 0
    for split, pictures in (("train", count), ("val", CLASSES)):
        for number in range(pictures):
            folder = root / split / f"class{number % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{number}.JPEG"
            _picture(generator, SIZES[number % len(SIZES)]).save(path, quality=90)
            total += path.stat().st_size * (split == "train")
    return total / count


def _picture(generator: numpy.random.Generator, size: tuple[int, int]) -> PIL.Image.Image:
    width, height = size
    layers = numpy.zeros((height, width, 3))
    for cell in (4, 16, 64):
        coarse = generator.normal(128, 60, (-(-height // cell), -(-width // cell), 3)).clip(0, 255)
        small = PIL.Image.fromarray(coarse.astype(numpy.uint8))
        layers += numpy.asarray(small.resize(size, PIL.Image.Resampling.BICUBIC), dtype=float) / 3
    layers += generator.normal(0, 14, layers.shape)
    return PIL.Image.fromarray(layers.clip(0, 255).astype(numpy.uint8))
