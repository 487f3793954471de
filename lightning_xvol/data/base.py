"""What a data set is: `ImageData`, and the split that lies in memory, `TensorSplit`.

A data set of your own needs no change here: any class of this shape works by its import path,
`--set data.name=mine:Stripes` (and `--set data.options.period=4` for its arguments). It need not derive from
`ImageData`.

    class Stripes(ImageData):                                        # mine.py, somewhere on the Python path
        num_classes = 2                                              # labels are 0 .. num_classes - 1
        image_shape = (1, 32, 32)                                    # [C, H, W] of what the splits return

        def __init__(self, root=None, *, download=False, period=4):  # root is --data-dir; the rest are your options
            wave = torch.arange(32.0).div(period).sin().expand(1, 32, 32)
            self.split = TensorSplit(torch.stack([wave, wave.mT]), torch.tensor([0, 1]))

        def train(self): return self.split                           # any map-style Dataset of (float32 [C, H, W], int)
        def validation(self): return self.split
        def test(self): return None                                  # no third draw: tables report the validation split

Images come out normalised. Random augmentation belongs into the `__getitem__` of the training split and draws from the
global generators of torch, numpy or `random`, which `lightning_xvol.data.keyed` seeds for every image. A split may also
offer `batch(indices) -> (images, labels)` for speed; it must then give what its items give, without randomness. Or it
derives from `RawSplit`, whose images stay uint8 until they are on the device.
`class_ordered = True` says that a split is sorted by class, so that `data.limit` spreads over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_xvol.errors import UserError

Item = tuple[Tensor, int]


class DataError(UserError):
    """A mistake in the data found while loading, as one sentence even when it comes out of a loader worker.

    torch raises such an error again in the main process with the worker's whole traceback as its message. What the
    worker said stands behind the last occurrence of this class's name.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition("DataError: ")[2].strip())


class ImageData:
    """Base class of data sets.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1; for regression the number of channels of a target.
        image_shape: [C, H, W] of one image after the transforms.
        class_ordered: whether the splits are sorted by class, as folders are.
    """

    num_classes: int
    image_shape: tuple[int, int, int]
    class_ordered: bool = False

    def __init__(self, root: Path | None = None, *, download: bool = False, **options: Any) -> None:
        """Take the folder with data sets, and whether a missing one may be downloaded into it."""
        self.root = Path("data") if root is None else Path(root)
        self.download = download
        if options:
            raise UserError(f"data set {type(self).__name__} has no option {', '.join(sorted(options))}")

    @classmethod
    def declared(cls, **options: Any) -> tuple[int, tuple[int, int, int]] | None:  # noqa: ARG003
        """`(num_classes, image_shape)` under these options as far as it is known without any file, else None.

        Those of the class by default. A class whose options change them says here how.
        """
        if hasattr(cls, "num_classes") and hasattr(cls, "image_shape"):
            return cls.num_classes, cls.image_shape
        return None

    def train(self) -> Dataset[Any]:
        """The training split: items are (image float32 [C, H, W], label), or for regression a `MapSplit`."""
        raise NotImplementedError

    def validation(self) -> Dataset[Any]:
        """The split that is looked at while a run goes on."""
        raise NotImplementedError

    def test(self) -> Dataset[Any] | None:
        """The split that is used once, at the end; None where the data set has no third draw."""
        return None


class TensorSplit(Dataset[Item]):
    """A split in memory: images [N, C, H, W] and labels [N].

    uint8 images stay so (a quarter of the memory) and are scaled to 0..1 and normalised by `mean` and `std`, one value
    per channel, on their way out. Float images are given out as they are.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> None:
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"expected images [N, C, H, W] and labels [N], got {[*images.shape]} and {[*labels.shape]}"
            )
        if images.dtype == torch.uint8 and (mean is None or std is None):
            raise ValueError("uint8 images need a mean and a std for every channel")
        self.images = images
        self.labels = labels.long()
        self.mean = mean
        self.std = std
        self._shift = None if mean is None else torch.tensor(mean)[:, None, None]
        self._scale = None if std is None else torch.tensor(std)[:, None, None]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        return self.normalise(self.images[index]), int(self.labels[index])

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images [len(indices), C, H, W] and labels [len(indices)] in one indexing operation."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return self.normalise(self.images[chosen]), self.labels[chosen]

    def take(self, indices: Sequence[int]) -> TensorSplit:
        """The split that consists of `indices` alone."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return TensorSplit(self.images[chosen], self.labels[chosen], self.mean, self.std)

    def normalise(self, images: Tensor) -> Tensor:
        """What is given out of stored `images` [..., C, H, W]."""
        if images.dtype != torch.uint8 or self._shift is None or self._scale is None:
            return images
        return (images / 255 - self._shift) / self._scale


class MapSplit(Dataset[tuple[Tensor, Tensor]]):
    """A split in memory for regression: inputs `[N, C, H, W]` and targets `[N, C', H, W]`, both float32."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        if inputs.ndim != 4 or len(targets) != len(inputs) or targets.shape[2:] != inputs.shape[2:]:
            raise ValueError(
                f"expected inputs [N, C, H, W] and targets [N, C', H, W], got {[*inputs.shape]} and {[*targets.shape]}"
            )
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.inputs[index], self.targets[index]

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Inputs and targets of `indices` in one indexing operation."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return self.inputs[chosen], self.targets[chosen]

    def take(self, indices: Sequence[int]) -> MapSplit:
        """The split that consists of `indices` alone."""
        return MapSplit(*self.batch(indices))


class RawSplit(Dataset[Item]):
    """A split that gives out uint8 images [C, H, W] and leaves the normalising to the device, a whole batch at once.

    A quarter of the bytes go from the loader's workers to the device. A subclass has `raw`, `take` and a length; its
    items are normalised like any other split's, and the same. All splits of a data set have one `mean` and `std`.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def raw(self, index: int) -> Item:
        """Image `index` (uint8) after all augmentation, and its label."""
        raise NotImplementedError

    def take(self, indices: Sequence[int]) -> RawSplit:
        """The split that consists of `indices` alone."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Item:
        image, label = self.raw(index)
        return self.normalise(image), label

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 `images` [..., C, H, W] as float32, scaled to 0..1, minus `mean`, over `std`, where they are."""
        shift, scale = (torch.tensor(values, device=images.device)[:, None, None] for values in (self.mean, self.std))
        return images.float().div_(255).sub_(shift).div_(scale)


def require_whole(name: str, value: Any, low: int) -> int:
    """`value` where it is a whole number from `low` on.

    Raises:
        UserError: otherwise.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UserError(f"data.options.{name}={value} must be a whole number, at least {low}")
    return value
