"""ImageNet-1k, or any pictures in the same folders: root/train/<class>/*.JPEG and root/val/<class>/*.JPEG.

The paper (section 4.1) says only that training images are "cropped to 224 x 224 with horizontal flipping". We take the
crop to be `RandomResizedCrop`, as in torchvision's reference for He et al. Evaluation is the usual one: the shorter
side becomes 256, then the central 224 x 224 is cut out.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import PIL.Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from lightning_xvol.data.base import ImageData, Item, RawSplit, require_whole
from lightning_xvol.data.pictures import Found, count_hidden, find_pictures, is_hidden, read_picture, say_hidden
from lightning_xvol.errors import UserError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
SPLITS = ("train", "val")
LONGEST = 50  # times the shorter side


class ImageNet(ImageData):
    """ImageNet-1k from folders, images [3, image_size, image_size]; the sorted folders in `train` are the classes.

    Validation uses the official validation split. There is no labelled test split.

    Args:
        root: the folder that holds `imagenet`, or `train` and `val` themselves.
        download: not possible, because of ImageNet's licence; the error for missing files says so.
        image_size: side of the crop; the resize of evaluation keeps the ratio 256 / 224.
    """

    class_ordered = True
    mean, std = MEAN, STD

    def __init__(self, root: Path | None = None, *, download: bool = False, image_size: int = 224) -> None:
        super().__init__(root, download=download)
        self.image_size = require_whole("image_size", image_size, 1)
        self.image_shape = (3, image_size, image_size)
        self._locate()
        self.classes = self._class_folders("train")
        self._compare(self._class_folders("val"))
        self.num_classes = len(self.classes)
        self._splits: dict[str, FolderSplit] = {}

    @classmethod
    def declared(cls, **options: Any) -> tuple[int, tuple[int, int, int]]:
        """The values of ImageNet-1k. Other pictures have as many classes as there are folders."""
        size = options["image_size"]
        return 1000, (3, size, size)

    def train(self) -> Dataset[Item]:
        return self._read("train", self._augmented())

    def validation(self) -> Dataset[Item]:
        return self._read("val", self._central())

    def _augmented(self) -> Callable[..., Tensor]:
        return _to_uint8(v2.RandomResizedCrop(self.image_size), v2.RandomHorizontalFlip())

    def _central(self) -> Callable[..., Tensor]:
        return central_crop(self.image_size)

    def _locate(self) -> None:
        if (self.root / "imagenet").is_dir():
            self.root = self.root / "imagenet"

    def _class_folders(self, split: str) -> list[str]:
        folder = self.root / split
        classes = list_classes(folder)
        if not classes:
            raise UserError(
                f"no class folders in {str(folder)!r}; expected {self.root}/train/<class>/*.JPEG and "
                f"{self.root}/val/<class>/*.JPEG: --data-dir must name the folder that holds imagenet, or "
                "the folder that holds train and val (ImageNet cannot be fetched with --download; see image-net.org)"
            )
        return classes

    def _compare(self, validation: list[str]) -> None:
        for name, more, fewer in (("train", self.classes, validation), ("val", validation, self.classes)):
            alone = sorted(set(more) - set(fewer))
            if alone:
                shown = ", ".join(alone[:3]) + (", ..." if len(alone) > 3 else "")
                raise UserError(
                    f"train and val in {str(self.root)!r} must hold the same classes, "
                    f"but {len(alone)} are only in {name}: {shown}"
                )

    def _read(self, split: str, transform: Callable[..., Tensor]) -> FolderSplit:
        if split not in self._splits:
            self._keep(split, FolderSplit(self.root / split, self.classes, transform))
        return self._splits[split]

    def _keep(self, name: str, split: FolderSplit) -> None:
        """Keep a split that was read, and say with the second one how many hidden files both have."""
        self._splits[name] = split
        if len(self._splits) == len(SPLITS):
            counts = {split.folder: split.hidden + count_hidden(split.folder) for split in self._splits.values()}
            say_hidden(self.root, sum(counts.values()))


def list_classes(folder: Path) -> list[str]:
    """The class folders in `folder` that are not hidden, sorted; empty for a folder that cannot be read."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_hidden(entry.name))
    except OSError:
        return []


def central_crop(image_size: int) -> Callable[..., Tensor]:
    """What evaluation makes of a picture: [3, image_size, image_size], uint8."""
    return _to_uint8(cut_ends, v2.Resize(round(image_size * 256 / 224)), v2.CenterCrop(image_size))


def cut_ends(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The middle of a very long picture; the crop sees no more of it, and resizing all of it would take gigabytes."""
    width, height = picture.size
    longest = LONGEST * min(width, height)
    left, top = (max(0, (side - longest) // 2) for side in (width, height))
    return picture.crop((left, top, width - left, height - top)) if left or top else picture


def _to_uint8(*geometry: Callable[..., object]) -> Callable[..., Tensor]:
    transform: Callable[..., Tensor] = v2.Compose([*geometry, v2.PILToTensor()])
    return transform


class FolderSplit(RawSplit):
    """Pictures folder/<class>/**, each opened when it is needed. The label is the index of its class in `classes`.

    Attributes:
        hidden: how many hidden pictures and folders in the class folders were skipped.
    """

    mean = MEAN
    std = STD

    def __init__(self, folder: Path, classes: Sequence[str], transform: Callable[..., Tensor]) -> None:
        found = [self._pictures_of(folder, name) for name in classes]
        samples = [(path, label) for label, (paths, _) in enumerate(found) for path in paths]
        self.hidden = sum(hidden for _, hidden in found)
        # Arrays, because counting references to a million small objects would copy a list in every loader worker.
        self.paths = numpy.array([os.fsencode(os.path.relpath(path, folder)) for path, _ in samples])
        self.labels = numpy.array([label for _, label in samples])
        self.folder = folder
        self.transform = transform

    @staticmethod
    def _pictures_of(folder: Path, name: str) -> Found:
        try:
            found = find_pictures(folder / name)
        except OSError as error:
            raise UserError(f"cannot list the pictures in {str(folder)!r}: {' '.join(str(error).split())}") from error
        if not found.paths:
            raise UserError(
                f"class {name!r} in {str(folder)!r} has no pictures; expected files that end in "
                f"{', '.join(IMG_EXTENSIONS)}"
            )
        return found

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, indices: Sequence[int]) -> FolderSplit:
        part = copy.copy(self)
        part.paths, part.labels = self.paths[list(indices)], self.labels[list(indices)]
        return part

    def raw(self, index: int) -> Item:
        picture = read_picture(self.folder / os.fsdecode(self.paths[index]))
        return self.transform(picture), int(self.labels[index])
