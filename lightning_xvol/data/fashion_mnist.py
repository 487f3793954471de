"""Fashion-MNIST (Xiao et al. 2017): 60,000 training and 10,000 test images [1, 28, 28] of clothes.

The paper does not use it. There is no standard augmentation. We use CIFAR's, as in Zhong et al. 2020 (Random Erasing):
4 pixels of padding, a random 28x28 crop, a random horizontal flip (a mirrored shoe keeps its class).

The files are those of torchvision's download or of Debian's package `dataset-fashion-mnist`, whose `.gz` files are read
as they are. Both hold the same images.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import torch
from torch.utils.data import Dataset

from lightning_xvol.data import idx
from lightning_xvol.data.base import Item, TensorSplit, require_whole
from lightning_xvol.data.torchvision_sets import CropFlip, TorchvisionData
from lightning_xvol.errors import UserError
from lightning_xvol.seeding import derive_seed
from lightning_xvol.surroundings.variables import named_data_folder

SIDE = 28
PACKAGE = "dataset-fashion-mnist"
SYSTEM_FOLDER = Path("/usr/share/datasets")
"""Where Debian's package puts its folder `fashion-mnist`."""
FOLDERS = ("FashionMNIST/raw", "fashion-mnist", ".")
"""Where the files may be in a folder of data sets: of torchvision, of the package, or this folder itself."""
PARTS = {True: "train", False: "t10k"}
"""How the names of the files begin, for the official training and test images."""
SPLITS = ("official", "by_seed")


class FashionMNIST(TorchvisionData):
    """Fashion-MNIST, 10 classes, images [1, 28, 28].

    The files are looked for in `root`, then in the folder that LIGHTNING_XVOL_DATA names, then in Debian's package.

    Args:
        root: the folder that contains the files, or torchvision's folder of them.
        download: whether torchvision may fetch missing files into `root`.
        augment: whether training images are cropped and flipped at random.
        split: `official` trains on the official 60,000 images and validates on the official 10,000. `by_seed` draws
            training and validation from the 60,000 by the seed of the run, and has the 10,000 as its test split.
        train_size: images for training, for `by_seed`. A larger split begins with the images of a smaller one.
        validation_size: images for validation, for `by_seed`. No image is in both splits.
    """

    num_classes = 10
    image_shape = (1, 28, 28)
    source = "FashionMNIST"
    layout = ("FashionMNIST/raw", "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-... (or the same as .gz)")
    mean = (0.2860,)
    std = (0.3530,)

    def __init__(
        self,
        root: Path | None = None,
        *,
        download: bool = False,
        augment: bool = True,
        split: str = "official",
        train_size: int | None = None,
        validation_size: int | None = None,
    ) -> None:
        if split not in SPLITS:
            raise UserError(f"data.options.split={split} must be one of {', '.join(SPLITS)}")
        self.split = split
        self.sizes = _sizes(split, train_size, validation_size)
        super().__init__(root, download=download, augment=augment)

    def train(self) -> Dataset[Item]:
        if self.split == "official":
            return super().train()
        split = self._drawn()[0]
        return CropFlip(split) if self.augment else split

    def validation(self) -> Dataset[Item]:
        return super().validation() if self.split == "official" else self._drawn()[1]

    def test(self) -> Dataset[Item] | None:
        return None if self.split == "official" else self._read(train=False)

    @property
    def drawn_from(self) -> dict[str, int] | None:
        """The numbers of official images, called as in the official split, if the splits are drawn from them."""
        if self.split == "official":
            return None
        return {"train": len(self._read(train=True)), "validation": len(self._read(train=False))}

    def digest(self) -> str | None:
        """Of all official images, so that it does not depend on the seed; None for the official split."""
        if self.split == "official":
            return None
        digest = hashlib.sha256()
        for train in PARTS:
            split = self._read(train)
            digest.update(split.images.numpy().tobytes() + split.labels.numpy().tobytes())
        return digest.hexdigest()

    def _drawn(self) -> tuple[TensorSplit, TensorSplit]:
        """Training and validation by `run_seed`: the beginning and the end of one random order of the 60,000."""
        official = self._read(train=True)
        train, validation = self.sizes
        if train + validation > len(official):
            raise UserError(
                f"data.train_size={train} and data.validation_size={validation} are more than the {len(official)} "
                "official training images together"
            )
        order = random_order(len(official), "fashion_mnist", self.run_seed)
        return official.take(order[:train].tolist()), official.take(order[::-1][:validation].tolist())

    def _is_here(self) -> bool:
        """Look for the files. `folder` is then their folder, and `found_in` the folder of data sets that holds it."""
        self.folder: Path | None = None
        for root in filter(None, (self.root, named_data_folder(), SYSTEM_FOLDER)):
            for name in FOLDERS:
                if _holds_files(root / name, named=name == "."):
                    self.folder, self.found_in = root / name, root
                    return True
        return False

    def _where(self) -> Path:
        return self.folder or self.root

    def _expected(self) -> str:
        return (
            f"install Debian's package {PACKAGE}, fetch it with --download, or name with --data-dir a folder that "
            f"contains {self.layout[0]}/ with {self.layout[1]}; looked for {self.root / self.layout[0]}"
        )

    def _read_files(self, train: bool) -> Any:
        if self.folder is None:
            raise FileNotFoundError("no files")
        part = PARTS[train]
        images, labels = (self._values(f"{part}-{name}") for name in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        if images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
            raise ValueError(f"{part} holds images {[*images.shape]} and labels {[*labels.shape]}")
        # Copies, because torch warns of memory that it must not write to.
        return SimpleNamespace(data=torch.tensor(images), targets=torch.tensor(labels))

    def _values(self, name: str) -> numpy.ndarray:
        path = None if self.folder is None else idx.find(self.folder, name)
        if path is None:
            raise FileNotFoundError(f"no {name} and no {name}.gz in {str(self.folder)!r}")
        return idx.read(path)


def random_order(count: int, *parts: int | str) -> numpy.ndarray:
    """The numbers 0 .. count - 1 in an order that depends on `parts` alone."""
    # Raw words of Philox, because numpy guarantees them in every version; it does not guarantee its permutations.
    keys = numpy.random.Philox(key=derive_seed("order of images", *parts)).random_raw(count)
    return numpy.argsort(keys, kind="stable")


def _sizes(split: str, train_size: int | None, validation_size: int | None) -> tuple[int, int]:
    given = {"train_size": train_size, "validation_size": validation_size}
    if split == "official":
        for name, size in given.items():
            if size is not None:
                raise UserError(
                    f"data.options.{name}={size} needs data.split=by_seed; the official split has its sizes"
                )
        return 0, 0
    missing = [f"data.{name}" for name, size in given.items() if size is None]
    if missing:
        raise UserError(f"data.split=by_seed needs {' and '.join(missing)}, for example 50000 and 10000")
    train, validation = (require_whole(name, size, 1) for name, size in given.items())
    return train, validation


def _holds_files(folder: Path, named: bool) -> bool:
    """Whether `folder` holds the data set, perhaps incomplete; `named`: only a file with the right name counts."""
    if named:
        return idx.find(folder, "train-images-idx3-ubyte") is not None
    try:
        return any(folder.iterdir())
    except OSError:
        return False
