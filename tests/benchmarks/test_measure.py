"""Shapes, rounds, ratios and memory, each against a value worked out by hand."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from benchmarks import measure, shapes
from benchmarks.measure import Effort
from lightning_xvol.errors import UserError

CPU = torch.device("cpu")


def test_the_named_shapes_are_those_of_resnet50():
    sizes = {shape.name: str(shape) for shape in shapes.parse(["all"])}
    assert sizes == {
        "224-stage2": "8x64x56x56",
        "224-stage3": "8x128x28x28",
        "224-stage4": "8x256x14x14",
        "224-stage5": "8x512x7x7",
        "800-stage2": "1x64x200x334",
        "800-stage3": "1x128x100x167",
        "800-stage4": "1x256x50x84",
        "800-stage5": "1x512x25x42",
    }
    assert [shape.name for shape in shapes.parse(["224-stage5", "224"])] == [
        "224-stage5", "224-stage2", "224-stage3", "224-stage4",
    ]  # fmt: skip
    assert shapes.parse(["2x3x5x7"]) == [shapes.Shape("2x3x5x7", 2, 3, 5, 7)]
    assert shapes.parse([*shapes.DEFAULT, *shapes.SMOKE])


@pytest.mark.parametrize("text", ["224-stage6", "2x3x5", "0x3x5x7", "axbxcxd", ""])
def test_a_wrong_shape_is_refused(text):
    with pytest.raises(UserError, match=f"--shapes '{text}' is not a shape.*known: 224, 800, all.*BxCxHxW"):
        shapes.parse([text])


def test_every_round_calls_everything_in_an_order_that_the_seed_decides():
    def order(seed):
        log = []
        calls = {name: lambda name=name: log.append(name) for name in "abcde"}
        samples = measure.alternate(calls, CPU, Effort(4, 0, seed), "test")
        assert {name: len(values) for name, values in samples.items()} == dict.fromkeys("abcde", 4)
        assert all(value > 0 for values in samples.values() for value in values)
        assert log[:10] == list("aabbccddee")  # the warm-up
        rounds = ["".join(log[10 + 5 * number : 15 + 5 * number]) for number in range(4)]
        assert all(sorted(once) == list("abcde") for once in rounds) and len(set(rounds)) > 1
        return rounds

    assert order(0) == order(0) != order(1)


def test_short_calls_are_repeated_until_a_sample_is_long_enough():
    clock = [0.0]

    def call():
        clock[0] += 0.25

    samples = measure.alternate({"a": call}, CPU, Effort(2, 1.1, 0), "test", clock=lambda: clock[0])
    assert samples == {"a": [0.25, 0.25]}
    assert clock[0] == 0.25 * (2 + 2 * 5)


def test_one_thread_is_measured_by_cpu_time():
    threads = torch.get_num_threads()
    try:
        for number, clock in [(1, time.process_time), (2, time.perf_counter)]:
            torch.set_num_threads(number)
            before, found, after = clock(), measure.cpu_clock(), clock()
            assert before <= found <= after
    finally:
        torch.set_num_threads(threads)


def test_ratios_are_taken_within_rounds_and_quartiles_over_rounds():
    slow_second_round = [1.0, 10.0, 1.0]
    assert measure.ratio([2.0, 20.0, 2.0], slow_second_round) == 2
    assert measure.spread([4.0, 1.0, 3.0, 2.0, 5.0]) == measure.Spread(3, 2, 4)
    assert measure.spread([7.0]) == measure.Spread(7, 7, 7)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_saved_bytes_count_each_storage_once_without_inputs_and_parameters(device):
    x = torch.zeros(2, 3, 5, 7, device=device)
    with torch.device(device):
        conv, chain = nn.Conv2d(3, 3, 1), nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    assert measure.saved_bytes(conv, x) == 0  # its input and its weight
    assert measure.saved_bytes(chain, x) == 2 * 4 * 35 * 4  # the output of ReLU, which the second convolution shares
