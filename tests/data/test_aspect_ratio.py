"""Batches have one orientation, in an order that depends on seed and epoch alone."""

import dataclasses

import numpy
import pytest

from lightning_xvol.config.schema import DataConfig, RunConfig, TrainConfig
from lightning_xvol.data.aspect_ratio import AspectRatioSampler, grouped_plan
from lightning_xvol.errors import UserError

LANDSCAPE = numpy.random.RandomState(0).rand(61) < 0.7


def config(batch_size=12, devices=1, accumulate=1, seed=0):
    return RunConfig(
        data=DataConfig(batch_size=batch_size),
        train=TrainConfig(epochs=3, devices=devices, accumulate=accumulate),
        seed=seed,
    )


def epoch_of(run, epoch=0, rank=0, first_step=0):
    sampler = AspectRatioSampler(run, grouped_plan(run, LANDSCAPE), LANDSCAPE, rank)
    sampler.epoch, sampler.first_step = epoch, first_step
    batches = list(sampler)
    assert len(batches) == len(sampler)
    return batches


@pytest.mark.parametrize(("devices", "accumulate"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_every_batch_that_runs_through_the_network_has_one_orientation(devices, accumulate):
    run = config(devices=devices, accumulate=accumulate)
    size = 12 // (devices * accumulate)
    batches = [batch for rank in range(devices) for batch in epoch_of(run, rank=rank)]
    assert all(len(batch) == size for batch in batches)
    assert all(len({bool(LANDSCAPE[index]) for _, index in batch}) == 1 for batch in batches)
    seen = [index for batch in batches for _, index in batch]
    assert len(set(seen)) == len(seen)
    full = sum(int(count) // size * size for count in (LANDSCAPE.sum(), (~LANDSCAPE).sum()))
    assert len(seen) == full // 12 * 12
    assert {bool(LANDSCAPE[batch[0][1]]) for batch in batches} == {True, False}


def test_the_order_is_a_function_of_seed_and_epoch():
    assert epoch_of(config(), 1) == epoch_of(config(), 1)
    orders = [
        [index for batch in epoch_of(config(seed=seed), epoch) for _, index in batch]
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_a_resumed_epoch_goes_on_where_it_stopped():
    assert epoch_of(config(accumulate=2), 1, first_step=2) == epoch_of(config(accumulate=2), 1)[4:]


def test_a_batch_larger_than_both_groups_is_refused():
    run = dataclasses.replace(config(), data=DataConfig(batch_size=60))
    with pytest.raises(UserError, match="batch_size=60"):
        grouped_plan(run, LANDSCAPE)
