"""Images by key (epoch, index): augmentation without random state, so that a killed run resumes exactly.

The order of the images is a function of (seed, epoch) and belongs to the sampler; the augmentation is a function of
(seed, epoch, index) and belongs here. Neither depends on how many processes load, nor on where in an epoch a run was
stopped. What was tried instead (restored generators, stateful loaders) did not resume exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lightning_xvol.data.base import Item, RawSplit
from lightning_xvol.seeding import derive_seed, seed_generators

Key = tuple[int, int]
KeyedItem = tuple[Tensor, int, int]


class KeyedBatch(NamedTuple):
    """A collated batch; a named tuple, because pinning memory turns a plain one into a list.

    Attributes:
        images: [B, C, H, W], as items are, or what `KeyedDataset.normalise` makes so.
        labels: [B].
        indices: [B], the place of each image in its split; a sampler may pad the last batch with repeated images, and
            an evaluation that counts each once needs to know.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class KeyedDataset(Dataset[KeyedItem]):
    """`dataset`, asked by keys (epoch, index) instead of indices.

    Seeds the CPU generators of torch, numpy and `random` before every image and does not put them back: whoever draws
    from them in the same process seeds them first.
    """

    def __init__(self, dataset: Dataset[Item], seed: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self._item = dataset.raw if isinstance(dataset, RawSplit) else dataset.__getitem__

    def __len__(self) -> int:
        # A map-style dataset has a length; torch's class does not say so.
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Key) -> KeyedItem:
        epoch, index = key
        seed_generators(derive_seed("augmentation", self.seed, epoch, index), devices=False)
        image, label = self._item(index)
        return image, label, index

    def normalise(self, images: Tensor) -> Tensor:
        """A batch as the dataset's items are: what a `RawSplit` left to do, on the device where `images` are."""
        return self.dataset.normalise(images) if isinstance(self.dataset, RawSplit) else images

    def __getitems__(self, keys: Sequence[Key]) -> KeyedBatch | list[KeyedItem]:
        """A whole batch at once: already collated where the dataset has `batch` (which draws no random numbers)."""
        batch: Callable[[Sequence[int]], tuple[Tensor, Tensor]] | None = getattr(self.dataset, "batch", None)
        if batch is None:
            return [self[key] for key in keys]
        indices = [index for _, index in keys]
        images, labels = batch(indices)
        return KeyedBatch(images, labels, torch.tensor(indices))


def collate(items: KeyedBatch | list[KeyedItem]) -> KeyedBatch:
    """The `collate_fn` of a loader over a `KeyedDataset`."""
    return items if isinstance(items, KeyedBatch) else KeyedBatch(*default_collate(items))
