"""Keyed images and derived seeds do not depend on the process that loads them."""

import os
import random
import subprocess
import sys

import numpy
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_xvol.data.base import TensorSplit
from lightning_xvol.data.keyed import KeyedBatch, KeyedDataset, collate
from lightning_xvol.seeding import derive_seed, seed_generators


class Augmented(Dataset):
    """Every image is one random number of each of the three global generators."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        drawn = [torch.rand(()).item(), random.random(), numpy.random.rand()]
        return torch.tensor(drawn).reshape(3, 1, 1), index % 4


def load(seed=0, epoch=0, order=range(12), workers=0, batch_size=4):
    """The images, loaded in `order` and sorted by index."""
    keys = [(epoch, index) for index in order]
    loader = DataLoader(
        KeyedDataset(Augmented(), seed), batch_size, sampler=keys, num_workers=workers, collate_fn=collate
    )
    images = {}
    for batch in loader:
        assert isinstance(batch, KeyedBatch)
        assert batch.labels.tolist() == [index % 4 for index in batch.indices.tolist()]
        images.update(zip(batch.indices.tolist(), batch.images, strict=True))
    return torch.stack([images[index] for index in sorted(images)])


def test_augmentation_is_a_function_of_seed_epoch_and_index():
    reference = load()
    assert torch.equal(load(workers=2), reference)
    assert torch.equal(load(order=[*range(11, -1, -1)], batch_size=5), reference)
    assert torch.equal(load(order=[3, 8]), reference[[3, 8]])
    torch.rand(3)
    random.random()
    assert torch.equal(load(), reference)
    everything = torch.cat([reference, load(epoch=1), load(seed=1)]).flatten()
    assert everything.unique().numel() == everything.numel()


def test_a_split_in_memory_is_loaded_by_the_batch():
    images, labels = torch.randn(10, 1, 4, 4), torch.arange(10)
    asked = []

    class Split(TensorSplit):
        def batch(self, indices):
            asked.append(list(indices))
            return super().batch(indices)

    loader = DataLoader(
        KeyedDataset(Split(images, labels), 0), 4, sampler=[(0, i) for i in (5, 3, 9, 0, 1)], collate_fn=collate
    )
    first, second = loader
    assert asked == [[5, 3, 9, 0], [1]]
    assert torch.equal(first.images, images[[5, 3, 9, 0]]) and first.labels.tolist() == first.indices.tolist()
    assert second.indices.tolist() == [1]


@pytest.mark.parametrize("workers", [0, 2])
def test_batched_and_single_loading_agree(workers):
    split = TensorSplit(torch.randint(0, 256, (6, 3, 2, 2), dtype=torch.uint8), torch.arange(6), [0.5] * 3, [0.2] * 3)
    keyed = KeyedDataset(split, 0)
    loader = DataLoader(keyed, 6, sampler=[(0, i) for i in range(6)], num_workers=workers, collate_fn=collate)
    single = collate([keyed[(0, i)] for i in range(6)])
    for one, other in zip(next(iter(loader)), single, strict=True):
        assert torch.equal(one, other) and one.dtype == other.dtype


def test_length_is_that_of_the_data_set():
    assert len(KeyedDataset(Augmented(), 0)) == 12


def test_seeds_are_fixed_numbers_of_63_bits():
    assert derive_seed("match", 0, "train") == 5159275305088745203
    seeds = [derive_seed("a", i) for i in range(2000)]
    assert len(set(seeds)) == 2000 and all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


def test_seeds_tell_types_and_borders_of_parts_apart():
    parts = [("ab", "c"), ("a", "bc"), ("abc",), (1,), ("1",), ("i1",), (1, 1), (11,), (-1,), (), ("",), ("1:", 1)]
    assert len({derive_seed(*part) for part in parts}) == len(parts)
    assert derive_seed(numpy.int64(3)) == derive_seed(3)


def test_seeds_do_not_depend_on_the_hash_seed_of_python_and_need_no_torch():
    code = "import sys; from lightning_xvol.seeding import derive_seed as d; print(d('x', 1), 'torch' in sys.modules)"
    printed = set()
    for value in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": value}
        printed.add(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout
        )
    assert printed == {f"{derive_seed('x', 1)} False\n"}


def test_seeding_covers_every_global_generator():
    def draw():
        return torch.rand(()).item(), random.random(), numpy.random.rand()

    seed_generators(derive_seed("a"))
    first = draw()
    seed_generators(derive_seed("a"))
    assert draw() == first
    seed_generators(derive_seed("b"))
    assert all(one != other for one, other in zip(draw(), first, strict=True))
