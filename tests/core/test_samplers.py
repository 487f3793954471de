"""Each process sees the right images in the right order."""

from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import pytest
import torch
from core_tools import tiny

from lightning_xvol.config.schema import RunConfig, set_value
from lightning_xvol.data.module import EvaluationSampler, ImageDataModule, KeyedBatchSampler, StepPlan, make_plan
from lightning_xvol.errors import UserError

SIZE, BATCH = 100, 24  # 4 whole batches, 4 images left over


def config(devices=1, accumulate=1, **values) -> RunConfig:
    made = RunConfig(seed=values.pop("seed", 0))
    changes = {
        "train.devices": devices,
        "train.accumulate": accumulate,
        "data.batch_size": BATCH,
        "train.epochs": 6,
        **values,
    }
    for path, value in changes.items():
        made = set_value(made, path, value)
    return made


def batches(of: RunConfig, rank=0, epoch=0, first_step=0, size=SIZE):
    sampler = KeyedBatchSampler(of, make_plan(of, size), size, rank)
    sampler.epoch, sampler.first_step = epoch, first_step
    found = list(sampler)
    assert len(sampler) == len(found)
    return found


@pytest.mark.parametrize(("devices", "accumulate"), [(1, 2), (2, 1), (2, 2), (3, 4), (4, 3), (8, 1), (1, 24)])
def test_devices_and_accumulation_divide_a_step_without_changing_it(devices, accumulate):
    whole = batches(config())
    parts = [batches(config(devices, accumulate), rank) for rank in range(devices)]
    assert {len(batch) for batch in itertools.chain(*parts)} == {BATCH // (devices * accumulate)}
    for step, batch in enumerate(whole):
        micro_steps = range(step * accumulate, (step + 1) * accumulate)
        # In the order of the single process: micro-batch by micro-batch, within it rank by rank.
        assert [key for micro in micro_steps for part in parts for key in part[micro]] == batch
    assert all(len(part) == len(whole) * accumulate for part in parts)


def test_an_epoch_shows_each_image_at_most_once_and_drops_less_than_a_batch():
    for epoch in range(3):
        keys = list(itertools.chain(*batches(config(), epoch=epoch)))
        assert {number for number, _ in keys} == {epoch}
        indices = [index for _, index in keys]
        assert len(set(indices)) == len(indices) == SIZE - SIZE % BATCH
        assert set(indices) <= set(range(SIZE))


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    reference = batches(config(), epoch=3)
    torch.manual_seed(99)
    random.seed(99)
    sampler = KeyedBatchSampler(config(), make_plan(config(), SIZE), SIZE, 0)
    for epoch in (1, 0, 3):  # earlier calls play no part
        sampler.epoch = epoch
        found = list(sampler)
    assert found == reference
    same = config(**{"optim.lr": 0.3, "data.workers": 2, "operator.name": "pssa", "train.epochs": 9})
    assert batches(same, epoch=3) == reference
    others = [batches(config(seed=1), epoch=3), batches(config(), epoch=2), batches(config(seed=3), epoch=0)]
    indices = [[index for batch in order for _, index in batch] for order in [reference, *others]]
    assert len({tuple(order) for order in indices}) == 4


def test_the_state_of_torchs_generator_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    batches(config())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("devices", "accumulate"), [(1, 1), (2, 3)])
def test_a_resumed_epoch_is_the_rest_of_the_whole_one(devices, accumulate):
    for rank in range(devices):
        whole = batches(config(devices, accumulate), rank, epoch=2)
        for step in range(5):
            rest = batches(config(devices, accumulate), rank, epoch=2, first_step=step)
            assert rest == whole[step * accumulate :]


def test_a_budget_in_steps_ends_within_an_epoch():
    of = config(**{"train.steps": 10})
    assert make_plan(of, SIZE) == StepPlan(steps_per_epoch=4, total_steps=10)
    assert [len(batches(of, epoch=epoch)) for epoch in range(4)] == [4, 4, 2, 0]
    assert batches(of, epoch=2) == batches(config(), epoch=2)[:2]
    assert [make_plan(of, SIZE).position(step) for step in (0, 3, 4, 10)] == [(0, 0), (0, 3), (1, 0), (2, 2)]


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UserError, match=r"data\.batch_size=24 is larger than the 23 training images"):
        make_plan(config(), 23)
    assert make_plan(config(), 24).steps_per_epoch == 1


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 7, 24, 25, 100])
def test_an_evaluation_shows_each_image_once_over_all_processes(devices, size):
    samplers = [EvaluationSampler(size, 4, rank, devices) for rank in range(devices)]
    found = [list(sampler) for sampler in samplers]
    assert [len(part) for part in found] == [len(sampler) for sampler in samplers]
    keys = [key for part in found for batch in part for key in batch]
    assert sorted(keys) == [(0, index) for index in range(size)]
    assert all(1 <= len(batch) <= 4 for part in found for batch in part)
    shares = [sum(map(len, part)) for part in found]
    assert max(shares) - min(shares) <= 1


def test_the_training_loader_follows_the_trainer():
    """The loader has the batches of its epoch, and in the first one only those after the interruption."""
    data = ImageDataModule(tiny())
    data.trainer = SimpleNamespace(global_rank=0, current_epoch=1)
    data.first_step = 7
    whole = batches(tiny(), epoch=1, size=40)

    def indices():
        return [batch.indices.tolist() for batch in data.train_dataloader()]

    assert indices() == [[index for _, index in batch] for batch in whole[2:]]
    data.trainer.current_epoch = 2
    assert indices() == [[index for _, index in batch] for batch in batches(tiny(), epoch=2, size=40)]
    with pytest.raises(RuntimeError, match="needs a trainer"):
        ImageDataModule(tiny()).train_dataloader()


def test_the_modules_evaluation_loaders_show_the_whole_split_once():
    data = ImageDataModule(tiny(data__validation_size=37, data__limit=39))
    for loader, size in ((data.val_dataloader(), 37), (data.test_dataloader(), 39)):
        seen = [index for batch in loader for index in batch.indices.tolist()]
        assert seen == list(range(size))
    assert not torch.equal(next(iter(data.val_dataloader())).images, next(iter(data.test_dataloader())).images)
