"""Images by key (epoch, index): augmentation without random state, so that a killed run resumes exactly.

The sampler decides the order of the images, as a function of (seed, epoch). This module decides the augmentation, as a
function of (seed, epoch, index). Neither depends on the number of loader processes, nor on where in an epoch a run was
stopped. Restored generators and stateful loaders were tried too; they did not resume exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from lightning_xvol.data.base import Item, RawSplit
from lightning_xvol.data.contract import Contract
from lightning_xvol.seeding import derive_seed, seed_generators

Key = tuple[int, int]  # epoch, index
KeyedItem = tuple[Tensor, int, int]


class KeyedBatch(NamedTuple):
    """A collated batch; a named tuple, because pinning memory turns a plain tuple into a list.

    Attributes:
        images: [B, C, H, W]; those of a `RawSplit` still need `KeyedDataset.normalise`.
        labels: [B].
        indices: [B], the index of each image in its split. An evaluation uses it to count each image once, even if a
            sampler repeats images to fill the last batch.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor


class KeyedDataset(Dataset[KeyedItem]):
    """`dataset`, indexed by keys (epoch, index), whose items keep the `contract`.

    It seeds the CPU generators of torch, numpy and `random` before every image and does not restore them. Other code in
    the same process must seed them itself before it uses them.
    """

    def __init__(self, dataset: Dataset[Item], seed: int, contract: Contract | None = None) -> None:
        self.dataset = dataset
        self.seed = seed
        self.contract = contract
        self._item = dataset.raw if isinstance(dataset, RawSplit) else dataset.__getitem__

    def __len__(self) -> int:
        # A map-style dataset has a length, though torch's class does not declare one.
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, key: Key) -> KeyedItem:
        epoch, index = key
        seed_generators(derive_seed("augmentation", self.seed, epoch, index), devices=False)
        item = self._item(index)
        image, label = item if self.contract is None else self.contract.item(item, index)
        return image, label, index

    def normalise(self, images: Tensor) -> Tensor:
        """Finish a batch: normalise the images of a `RawSplit`, on their own device."""
        return self.dataset.normalise(images) if isinstance(self.dataset, RawSplit) else images

    def __getitems__(self, keys: Sequence[Key]) -> KeyedBatch | list[KeyedItem]:
        """A whole batch at once, already collated if the dataset has `batch` (which uses no random numbers)."""
        batch: Callable[[Sequence[int]], tuple[Tensor, Tensor]] | None = getattr(self.dataset, "batch", None)
        if batch is None:
            return [self[key] for key in keys]
        indices = [index for _, index in keys]
        images, labels = batch(indices)
        if self.contract is not None:
            images, labels = self.contract.batch(images, labels, indices)
        return KeyedBatch(images, labels, torch.tensor(indices))


def collate(items: KeyedBatch | list[KeyedItem]) -> KeyedBatch:
    """The `collate_fn` of a loader over a `KeyedDataset`."""
    return items if isinstance(items, KeyedBatch) else KeyedBatch(*default_collate(items))
