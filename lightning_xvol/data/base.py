"""The interface of a data set, `ImageData`, and its kinds of splits: `TensorSplit`, `MapSplit` and `RawSplit`.

Your own data set needs no change here. Name its class by import path, `--set data.name=mine:Stripes`, and set its
options with `--set data.options.period=4`. The class need not derive from `ImageData`. The example has two images,
so a run on it also needs `--set data.batch_size=2`.

    import torch                                                     # mine.py, on the Python path
    from lightning_xvol.data import ImageData, TensorSplit

    class Stripes(ImageData):
        num_classes = 2                                              # labels are 0 .. num_classes - 1
        image_shape = (1, 32, 32)                                    # [C, H, W] of an image

        def __init__(self, root=None, *, download=False, period=4):  # root is --data-dir; the rest are your options
            wave = torch.arange(32.0).div(period).sin().expand(1, 32, 32)
            self.split = TensorSplit(torch.stack([wave, wave.mT]), torch.tensor([0, 1]))

        def train(self): return self.split                           # any map-style Dataset of (float32 [C, H, W], int)
        def validation(self): return self.split
        def test(self): return None                                  # without it, tables report the validation split

Splits return normalised images. Random augmentation belongs in `__getitem__` of the training split. It takes random
numbers from the global generators of torch, numpy or `random`, which `lightning_xvol.data.keyed` seeds for every image.

A split may offer `batch(indices) -> (images, labels)` for speed. It must return what its items return, without random
numbers. A split may also derive from `RawSplit`, whose images stay uint8 until they are on the device.

`class_ordered = True` says that splits are sorted by class; `data.limit` then takes images at equal distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_xvol.errors import UserError
from lightning_xvol.surroundings.variables import data_folder

Item = tuple[Tensor, int]


class DataError(UserError):
    """A mistake in the data found while loading: one sentence, even if a loader worker raises it.

    torch raises a worker's error again in the main process, with the worker's whole traceback as the message. The
    worker's sentence follows the last occurrence of this class's name there.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition("DataError: ")[2].strip())


class ImageData:
    """Base class of data sets.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1; for regression, the number of channels of a target.
        image_shape: [C, H, W] of one image after the transforms.
        class_ordered: whether the splits are sorted by class, as a list of class folders is.
        run_seed: the seed of the run, for a data set that draws its splits by it. `build_data` sets it before it asks
            for a split. Such a data set has a `digest` that does not depend on the seed.
        classes: names of the labels; empty if they have none.
    """

    num_classes: int
    image_shape: tuple[int, int, int]
    class_ordered: bool = False
    run_seed: int = 0
    classes: Sequence[str] = ()

    def __init__(self, root: Path | None = None, *, download: bool = False, **options: Any) -> None:
        """Keep the folder that contains data sets, and whether a missing one may be downloaded into it."""
        self.root = data_folder(root)
        self.download = download
        if options:
            raise UserError(f"data set {type(self).__name__} has no option {', '.join(sorted(options))}")

    @classmethod
    def declared(cls, **options: Any) -> tuple[int, tuple[int, int, int]] | None:  # noqa: ARG003
        """`(num_classes, image_shape)` with these options, or None if only the files tell.

        The default is the attributes of the class. A class whose options change them overrides this method.
        """
        if hasattr(cls, "num_classes") and hasattr(cls, "image_shape"):
            return cls.num_classes, cls.image_shape
        return None

    def train(self) -> Dataset[Any]:
        """The training split: items (image float32 [C, H, W], label), or for regression a `MapSplit`."""
        raise NotImplementedError

    def validation(self) -> Dataset[Any]:
        """The split that is evaluated during a run."""
        raise NotImplementedError

    def test(self) -> Dataset[Any] | None:
        """The split that is evaluated once, at the end of a run; None if the data set has no test split."""
        return None


class TensorSplit(Dataset[Item]):
    """A split in memory: images [N, C, H, W] and labels [N].

    uint8 images stay uint8 in memory, a quarter of the size. Each is scaled to 0..1 and normalised by `mean` and `std`,
    one value per channel, when it is read. Float images are returned unchanged.
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
        """A split of the items at `indices`."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return TensorSplit(self.images[chosen], self.labels[chosen], self.mean, self.std)

    def normalise(self, images: Tensor) -> Tensor:
        """Normalise stored `images` [..., C, H, W]: the result is what the split returns."""
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
        """A split of the items at `indices`."""
        return MapSplit(*self.batch(indices))


class RawSplit(Dataset[Item]):
    """A split whose uint8 images [C, H, W] are normalised on the device, a whole batch at once.

    So only a quarter of the bytes go from the loader's workers to the device. A subclass has `raw`, `take` and a
    length. Its items are normalised, like those of any other split. All splits of a data set share one `mean` and
    `std`.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def raw(self, index: int) -> Item:
        """Image `index` (uint8) after all augmentation, and its label."""
        raise NotImplementedError

    def take(self, indices: Sequence[int]) -> RawSplit:
        """A split of the items at `indices`."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Item:
        image, label = self.raw(index)
        return self.normalise(image), label

    def normalise(self, images: Tensor) -> Tensor:
        """`normalised` with the `mean` and `std` of this split."""
        return normalised(images, self.mean, self.std)


def normalised(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """uint8 `images` [..., C, H, W] as float32: scaled to 0..1, minus `mean`, over `std`, on their own device."""
    shift, scale = (torch.tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    return images.float().div_(255).sub_(shift).div_(scale)


def require_whole(name: str, value: Any, low: int) -> int:
    """`value`, checked to be a whole number of at least `low`.

    Raises:
        UserError: if it is not; the message calls it `data.options.<name>`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UserError(f"data.options.{name}={value} must be a whole number, at least {low}")
    return value
