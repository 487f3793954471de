"""Data sets: `build_data` makes the one that a config names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import cast

from torch.utils.data import Dataset, Subset

from lightning_xvol.config import registry
from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data.base import DataError, ImageData, Item, MapSplit, RawSplit, TensorSplit
from lightning_xvol.errors import UserError

__all__ = ["DataError", "ImageData", "MapSplit", "RawSplit", "TensorSplit", "build_data", "declared_shape"]

_REQUIRED = ("num_classes", "image_shape", "train", "validation", "test")


def build_data(config: DataConfig, data_dir: Path | None = None, download: bool = False) -> ImageData:
    """The data set `config.name` with `config.options`, every split cut to `config.limit` images.

    Args:
        config: name (registered or an import path), options, limit.
        data_dir: the folder that contains data sets, ./data by default.
        download: whether a data set that is not there may be downloaded into `data_dir`.

    Raises:
        UserError: for an unknown name or option, missing files, or a class that is no data set.
    """
    options = registry.resolve_options("data", config.name, config.options)
    make = registry.load("data", config.name)
    root = Path("data") if data_dir is None else Path(data_dir)
    if not callable(make):
        raise UserError(f"data {config.name!r} is no class; see lightning_xvol/data/base.py for what is expected")
    try:
        # Bound first, so that only a wrong option is blamed on the options, not a TypeError inside the constructor.
        inspect.signature(make).bind(root, download=download, **options)
    except TypeError as error:
        raise UserError(f"data {config.name!r} does not take the options {options}: {error}") from error
    data = make(root, download=download, **options)
    missing = [name for name in _REQUIRED if not hasattr(data, name)]
    if missing:
        raise UserError(
            f"data {config.name!r} lacks {', '.join(missing)}; see lightning_xvol/data/base.py for what is expected"
        )
    return cast(ImageData, data) if config.limit is None else Limited(data, config.limit)


def declared_shape(config: DataConfig, data_dir: Path | None = None) -> tuple[int, tuple[int, int, int]]:
    """`(num_classes, image_shape)`: what the class declares, so that no file is needed, else what the data set has.

    ImageNet declares its 1000 classes; a folder with others in its place has its own number when it is trained on. A
    class without `ImageData.declared` is built, from its files if it reads any.

    Raises:
        UserError: as `build_data`.
    """
    options = registry.resolve_options("data", config.name, config.options)
    declare = getattr(registry.load("data", config.name), "declared", None)
    declared = declare(**options) if callable(declare) else None
    if declared is not None:
        return cast(tuple[int, tuple[int, int, int]], declared)
    data = build_data(config, data_dir)
    return data.num_classes, data.image_shape


class Limited(ImageData):
    """`data` cut to `limit` images in every split: the first ones, or every k-th where splits are sorted by class."""

    def __init__(self, data: ImageData, limit: int) -> None:
        if limit < 1:
            raise UserError(f"data.limit={limit} must be at least 1")
        self.data = data
        self.limit = limit
        self.num_classes = data.num_classes
        self.image_shape = data.image_shape
        self.class_ordered = getattr(data, "class_ordered", False)

    def train(self) -> Dataset[Item]:
        return self._cut(self.data.train())

    def validation(self) -> Dataset[Item]:
        return self._cut(self.data.validation())

    def test(self) -> Dataset[Item] | None:
        split = self.data.test()
        return None if split is None else self._cut(split)

    def _cut(self, split: Dataset[Item]) -> Dataset[Item]:
        size = len(cast(Sized, split))
        if size <= self.limit:
            return split
        step = size if self.class_ordered else self.limit
        indices = [place * step // self.limit for place in range(self.limit)]
        # A cut TensorSplit or MapSplit keeps its fast `batch`, a cut RawSplit its uint8 images, a cut CocoSplit its
        # annotations.
        take: Callable[[Sequence[int]], Dataset[Item]] | None = getattr(split, "take", None)
        return Subset(split, indices) if take is None else take(indices)
