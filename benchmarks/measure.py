"""Time and memory of a call, and the rounds in which calls take turns."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

Call = Callable[[], object]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of the rounds."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median over rounds of one time over another of the same round: what slowed a whole round cancels."""
    return statistics.median(first / second for first, second in zip(over, under, strict=True))


def cpu_clock() -> float:
    """Seconds: of one thread the CPU time, which others on the machine disturb less, of more the wall time."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds_per_call(
    call: Call, number: int, device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Time by `clock` of one of `number` calls in a row; on CUDA between two events, with nothing left in a queue."""
    if device.type != "cuda":
        start = clock()
        for _ in range(number):
            call()
        return (clock() - start) / number
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    begin.record()
    for _ in range(number):
        call()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1000 / number


def alternate(
    calls: Mapping[Key, Call],
    device: torch.device,
    rounds: int,
    seconds: float,
    seed: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Key, list[float]]:
    """Seconds per call of each of `calls`, one value a round, in an order drawn anew for every round.

    Before the first round each is called twice: the first call pays for choosing algorithms, the second tells how many
    make a sample of at least `seconds`.
    """
    numbers = {}
    for key, call in calls.items():
        seconds_per_call(call, 1, device, clock)
        numbers[key] = max(1, math.ceil(seconds / seconds_per_call(call, 1, device, clock)))
    samples: dict[Key, list[float]] = {key: [] for key in calls}
    order, shuffled = list(calls), random.Random(seed)
    for _ in range(rounds):
        shuffled.shuffle(order)
        for key in order:
            samples[key].append(seconds_per_call(calls[key], numbers[key], device, clock))
    return samples


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """Bytes that a forward pass keeps for backward beside the input, the parameters and the buffers.

    It works on the meta device too.
    """
    return kept_bytes(lambda: module(x), [x, *module.parameters(), *module.buffers()])


def kept_bytes(call: Callable[[], Tensor], inputs: Iterable[Tensor]) -> int:
    """Bytes that `call` keeps for backward beside `inputs`, each storage once and whole, however many views of it."""
    kept: dict[int, torch.UntypedStorage] = {}
    own = {_identity(tensor) for tensor in inputs}

    def pack(tensor: Tensor) -> Tensor:
        if _identity(tensor) not in own:
            kept[_identity(tensor)] = tensor.untyped_storage()
        return tensor.detach()  # an output kept as it is would keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call()  # alive until the sum is made, so that no storage's place is taken by another
    total = sum(storage.nbytes() for storage in kept.values())
    del output
    return total


def _identity(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def peak_bytes(call: Call, device: torch.device) -> int:
    """The most that the CUDA allocator held during `call`, above what it held before."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
