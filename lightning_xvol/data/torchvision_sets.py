"""The base of CIFAR and Fashion-MNIST: torchvision reads them into memory; augmentation pads, crops and flips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from lightning_xvol.data.base import ImageData, Item, TensorSplit
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.locking import alone_in


class TorchvisionData(ImageData):
    """A data set that `torchvision.datasets` reads into memory. The official test split is used for validation.

    Args:
        root: the folder that contains torchvision's folder of the data set.
        download: whether a missing data set is fetched into `root`.
        augment: whether training images are cropped and flipped at random.

    Attributes:
        source: name of the class in `torchvision.datasets`.
        layout: the folder below `root`, and its files in words.
        mean: of the training pixels, scaled to 0..1, per channel.
        std: standard deviation of the same pixels.
    """

    source: str
    layout: tuple[str, str]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __init__(self, root: Path | None = None, *, download: bool = False, augment: bool = True) -> None:
        super().__init__(root, download=download)
        if not isinstance(augment, bool):
            raise UserError(f"data.options.augment={augment} must be true or false")
        self.augment = augment
        self._splits: dict[bool, TensorSplit] = {}
        self._classes: tuple[str, ...] = ()
        # Checked here, not at the first batch, so that a sweep stops before its first cell.
        if not self._is_here() and not download:
            raise UserError(f"no {self.source} in {str(self.root)!r}; {self._expected()}")

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names of the classes, as torchvision has them."""
        self._read(train=False)
        return self._classes

    def train(self) -> Dataset[Item]:
        split = self._read(train=True)
        return CropFlip(split) if self.augment else split

    def validation(self) -> Dataset[Item]:
        return self._read(train=False)

    def _is_here(self) -> bool:
        return (self.root / self.layout[0]).is_dir()

    def _where(self) -> Path:
        """The folder that the files are read from."""
        return self.root

    def _expected(self) -> str:
        folder, files = self.layout
        return (
            f"expected {self.root / folder}/ with {files}: name the folder that contains {folder} with --data-dir, "
            "or fetch it with --download"
        )

    def _read(self, train: bool) -> TensorSplit:
        if train not in self._splits:
            images, labels = self._load(train)
            self._splits[train] = TensorSplit(images, labels, self.mean, self.std)
        return self._splits[train]

    def _load(self, train: bool) -> tuple[Tensor, Tensor]:
        # Incomplete or foreign files fail in torchvision in many ways, from RuntimeError to UnpicklingError.
        try:
            loaded = self._open(train)
        except Exception as error:
            doing = "fetch or read" if self.download else "read"
            raise UserError(
                f"cannot {doing} {self.source} in {str(self._where())!r} ({_one_line(error)}); {self._expected()}"
            ) from error
        self._classes = tuple(map(str, getattr(loaded, "classes", ())))
        images = torch.as_tensor(loaded.data)
        # CIFAR comes as [N, H, W, 3], Fashion-MNIST as [N, H, W].
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        return images, torch.as_tensor(loaded.targets)

    def _read_files(self, train: bool) -> Any:
        """An object with `data` and `targets`, as torchvision's data sets are."""
        return self._by_torchvision(train=train)

    def _by_torchvision(self, **arguments: bool) -> Any:
        from torchvision import datasets

        return getattr(datasets, self.source)(str(self.root), **arguments)

    def _open(self, train: bool) -> Any:
        try:
            return self._read_files(train)
        except Exception:
            if not self.download:
                raise
        # Existing files are tried first, because their folder may be read-only. The lock is for other cells, which
        # would read half a file: torchvision writes to the final names.
        with alone_in(self.root):
            return self._by_torchvision(train=train, download=True)


class CropFlip(Dataset[Item]):
    """A training split whose images [C, H, W] are padded with black, cropped to their size and mirrored at random.

    It has no `batch`, because the random numbers of an image must not depend on its batch.
    """

    def __init__(self, split: TensorSplit, padding: int = 4) -> None:
        self.split = split
        self.padding = padding

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Item:
        image = self.split.images[index]
        _, height, width = image.shape
        top, left = torch.randint(0, 2 * self.padding + 1, (2,)).tolist()
        mirrored = torch.rand(()).item() < 0.5
        padded = functional.pad(image, [self.padding] * 4)
        cropped = padded[:, top : top + height, left : left + width]
        return self.split.normalise(cropped.flip(-1) if mirrored else cropped), int(self.split.labels[index])


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
