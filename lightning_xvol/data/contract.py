"""What a run expects of a data set for classification, checked with one sentence for each mistake.

One item of each split is checked before training, and the items of every batch when they are loaded. A data set of the
user's own by import path is checked like those of the suite.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from lightning_xvol.data.base import DataError, RawSplit
from lightning_xvol.errors import UserError

PAIR = "a pair (image, label)"


def require_map_style(split: Any, what: str) -> None:
    """Check that `split` has a length and items by index.

    Raises:
        UserError: if it has not, or is None or empty; the message calls it `what`.
    """
    kind = type(split).__name__
    if isinstance(split, IterableDataset) or not (hasattr(split, "__getitem__") and hasattr(split, "__len__")):
        raise UserError(
            f"{what} is {_article(kind) if split is not None else None}; expected a map-style Dataset with __len__ and "
            "__getitem__, because a run reads images by index"
        )
    try:
        size = len(split)
    except TypeError as error:  # torch's Dataset may leave it to a subclass
        raise UserError(f"{what} is {_article(kind)} without a length; expected a Dataset with __len__") from error
    if size == 0:
        raise UserError(f"{what} has no images; expected at least one")


def check_attributes(name: str, num_classes: Any, image_shape: Any) -> None:
    """Check the attributes of the data set `name`.

    Raises:
        UserError: unless `num_classes` is a positive int and `image_shape` are three positive ints.
    """
    if not _is_size(num_classes):
        raise UserError(f"data {name!r} has num_classes={num_classes!r}; expected a whole number such as 10")
    if not isinstance(image_shape, (tuple, list)) or len(image_shape) != 3 or not all(map(_is_size, image_shape)):
        raise UserError(f"data {name!r} has image_shape={image_shape!r}; expected [C, H, W] such as (3, 32, 32)")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


@dataclass(frozen=True)
class Contract:
    """Checks the items of one split.

    Attributes:
        what: what messages call the split.
        num_classes: labels are 0 .. num_classes - 1.
        image_shape: [C, H, W] of every image.
        dtype: of the images.
    """

    what: str
    num_classes: int
    image_shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def item(self, item: Any, index: int) -> tuple[Tensor, int]:
        """The image [C, H, W] and the label of `item`, which is item `index` of the split.

        Raises:
            DataError: for an item of another form, type, size or label.
        """
        where = f"item {index} of {self.what}"
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            size = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
            form = "None" if item is None else _article(type(item).__name__) + size
            raise DataError(f"{where} is {form}; expected {PAIR}")
        image, label = item
        if isinstance(image, numpy.ndarray) and image.dtype.kind in "fiub":
            image = torch.from_numpy(image)
        self._image(image, self.image_shape, where)
        number = self._label(label, where)
        if not 0 <= number < self.num_classes:
            raise self._outside(number, where)
        return image, number

    def batch(self, images: Any, labels: Any, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The images [B, C, H, W] and int64 labels [B] that `batch(indices)` of a split has returned.

        Raises:
            DataError: for another type or shape, or a label outside the classes.
        """
        where = f"batch({list(indices[:3])}{' ...' * (len(indices) > 3)}) of {self.what}"
        self._image(images, (len(indices), *self.image_shape), where)
        if not isinstance(labels, Tensor) or labels.shape != (len(indices),) or not _is_whole(labels):
            raise DataError(f"{where} has labels {_describe(labels)}; expected {len(indices)} whole numbers, int64")
        low, high = (int(bound) for bound in labels.aminmax())
        if low < 0 or high >= self.num_classes:
            raise self._outside(low if low < 0 else high, where)
        return images, labels.long()

    def _image(self, image: Any, shape: tuple[int, ...], where: str) -> None:
        expected = f"expected a tensor {self.dtype} {list(shape)}".replace("torch.", "")
        if not isinstance(image, Tensor):
            raise DataError(f"{where} has {_describe(image)} as its image; {expected}")
        if image.dtype != self.dtype:
            raise DataError(
                f"{where} has an image {_describe(image)}; {expected}: convert it, and keep uint8 for a RawSplit"
            )
        if tuple(image.shape) != tuple(shape):
            raise DataError(
                f"{where} has an image {_describe(image)}; {expected}, as image_shape says: resize or crop it"
            )

    def _label(self, label: Any, where: str) -> int:
        is_bool = isinstance(label, (bool, numpy.bool_)) or getattr(label, "dtype", None) in (torch.bool, bool)
        shape: tuple[int, ...] = getattr(label, "shape", (len(label),) if isinstance(label, (list, tuple)) else ())
        if len(shape) == 1:
            hint = "; give the index of its class, not a one-hot vector" if shape[0] == self.num_classes else ""
            raise DataError(f"{where} has the label {_describe(label)}; expected one whole number{hint}")
        try:
            if is_bool:
                raise TypeError("a bool is no class")
            return operator.index(label)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{where} has the label {_describe(label)}; expected a whole number from 0 to {self.num_classes - 1}"
            ) from error

    def _outside(self, label: int, where: str) -> DataError:
        return DataError(
            f"{where} has the label {label}; expected 0 to {self.num_classes - 1}, because num_classes is "
            f"{self.num_classes}"
        )


def contract_of(split: Any, what: str, num_classes: int, image_shape: Sequence[int]) -> Contract:
    """The contract of `split`, after a check of its form and of its first item.

    Raises:
        UserError: for a split that is not map-style, or a first item that breaks the contract.
    """
    require_map_style(split, what)
    raw = isinstance(split, RawSplit)
    contract = Contract(what, num_classes, tuple(image_shape), torch.uint8 if raw else torch.float32)
    if raw:
        if not (hasattr(split, "mean") and hasattr(split, "std")):
            raise UserError(f"{what} is a RawSplit without mean and std; give one value of each for every channel")
        channels = image_shape[0]
        if not len(split.mean) == len(split.std) == channels:
            raise UserError(
                f"{what} has {len(split.mean)} values in mean and {len(split.std)} in std; expected one for each of "
                f"its {channels} channels"
            )
    contract.item(split.raw(0) if raw else split[0], 0)
    return contract


def _is_whole(labels: Tensor) -> bool:
    return not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)


def _describe(value: Any) -> str:
    """`float64 [3, 8, 8]` for a tensor or an array, and otherwise the value and its type, on one line."""
    if isinstance(value, (Tensor, numpy.ndarray)) and value.ndim:
        return f"{value.dtype} {list(value.shape)}".replace("torch.", "")
    text = " ".join(repr(value).split())
    return f"{text[:60]}{' ...' * (len(text) > 60)} ({type(value).__name__})" if value is not None else "None"


def _article(kind: str) -> str:
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
