"""Data sets. `build_data` makes the one that a configuration names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import cast

from torch.utils.data import Dataset, Subset

from lightning_xvol.config import registry
from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data.base import DataError, ImageData, Item, MapSplit, RawSplit, TensorSplit
from lightning_xvol.data.contract import require_map_style
from lightning_xvol.errors import UserError
from lightning_xvol.surroundings.variables import data_folder

__all__ = ["DataError", "ImageData", "MapSplit", "RawSplit", "TensorSplit", "build_data", "declared_shape"]

_REQUIRED = ("num_classes", "image_shape", "train", "validation", "test")


def build_data(config: DataConfig, data_dir: Path | None = None, download: bool = False, seed: int = 0) -> ImageData:
    """The data set `config.name` with `config.options`, every split cut to `config.limit` images.

    Args:
        config: name (registered or an import path), options and limit.
        data_dir: the folder that contains data sets; by default what LIGHTNING_XVOL_DATA names, else ./data.
        download: whether a missing data set may be downloaded into `data_dir`.
        seed: the seed of the run, for a data set that draws its splits by it.

    Raises:
        UserError: for an unknown name or option, missing files, or a class that is not a data set.
    """
    options = registry.resolve_options("data", config.name, config.options)
    make = registry.load("data", config.name)
    root = data_folder(data_dir)
    try:
        # Check the options first, so that a TypeError inside the constructor is not blamed on them.
        inspect.signature(make).bind(root, download=download, **options)
    except TypeError as error:
        raise UserError(f"data {config.name!r} does not take the options {options}: {error}") from error
    data = make(root, download=download, **options)
    missing = [name for name in _REQUIRED if not hasattr(data, name)]
    if missing:
        raise UserError(
            f"data {config.name!r} lacks {', '.join(missing)}; lightning_xvol/data/base.py shows what is expected"
        )
    if isinstance(data, ImageData):
        data.run_seed = seed
    for split in _REQUIRED[2:]:
        if not callable(getattr(data, split)):
            raise UserError(f"data {config.name!r} has {split} that is not a method; expected def {split}(self)")
    return cast(ImageData, data) if config.limit is None else Limited(data, config.limit)


def declared_shape(config: DataConfig, data_dir: Path | None = None) -> tuple[int, tuple[int, int, int]]:
    """`(num_classes, image_shape)` as the class declares it, so that no file is needed.

    A class without `ImageData.declared` is built, and reads its files. ImageNet declares 1000 classes; a folder with
    other pictures has another number of classes when a run reads it.

    Raises:
        UserError: as in `build_data`.
    """
    options = registry.resolve_options("data", config.name, config.options)
    declare = getattr(registry.load("data", config.name), "declared", None)
    declared = declare(**options) if callable(declare) else None
    if declared is not None:
        return cast(tuple[int, tuple[int, int, int]], declared)
    data = build_data(config, data_dir)
    return data.num_classes, data.image_shape


class Limited(ImageData):
    """`data` cut to `limit` images in every split.

    These are the first images, or images at equal distances if the splits are sorted by class.
    """

    def __init__(self, data: ImageData, limit: int) -> None:
        if limit < 1:
            raise UserError(f"data.limit={limit} must be at least 1")
        self.data = data
        self.limit = limit
        self.num_classes = data.num_classes
        self.image_shape = data.image_shape
        self.class_ordered = getattr(data, "class_ordered", False)
        self.classes = getattr(data, "classes", ())

    def train(self) -> Dataset[Item]:
        return self._cut(self.data.train(), "train")

    def validation(self) -> Dataset[Item]:
        return self._cut(self.data.validation(), "validation")

    def test(self) -> Dataset[Item] | None:
        split = self.data.test()
        return None if split is None else self._cut(split, "test")

    def _cut(self, split: Dataset[Item], name: str) -> Dataset[Item]:
        require_map_style(split, f"the {name} split")
        size = len(cast(Sized, split))
        if size <= self.limit:
            return split
        step = size if self.class_ordered else self.limit
        indices = [number * step // self.limit for number in range(self.limit)]
        # `take` keeps what a Subset would lose: `batch` of a TensorSplit or MapSplit, uint8 images of a RawSplit,
        # annotations of a CocoSplit.
        take: Callable[[Sequence[int]], Dataset[Item]] | None = getattr(split, "take", None)
        return Subset(split, indices) if take is None else take(indices)
