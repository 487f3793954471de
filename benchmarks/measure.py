"""Time and memory of a call, and the rounds in which calls take turns."""

from __future__ import annotations

import ctypes
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lightning_xvol.seeding import derive_seed

Call = Callable[[], object]
Key = TypeVar("Key", bound=Hashable)
Row = dict[str, Any]  # of a table: column to value


@dataclass(frozen=True)
class Effort:
    """How long a measurement takes.

    Attributes:
        rounds: samples of each call.
        seconds: the least length of a sample. A short call is repeated until its sample is this long.
        seed: of the order, the weights and the inputs.
    """

    rounds: int = 7
    seconds: float = 0.02
    seed: int = 0


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of the rounds."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median and quartiles of `values`; all three are the value if there is only one."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def milliseconds(seconds: Sequence[float], prefix: str = "") -> dict[str, float]:
    """The columns `ms`, `q1_ms` and `q3_ms` of a row, each behind `prefix`: median and quartiles of `seconds`."""
    found = spread(seconds)
    values = {"ms": found.median, "q1_ms": found.low, "q3_ms": found.high}
    return {f"{prefix}{name}": 1000 * value for name, value in values.items()}


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the rounds' ratios. A slow round slows both of its times, which cancels."""
    return statistics.median(first / second for first, second in zip(over, under, strict=True))


# Parameters of glibc's mallopt (malloc.h). 32 MiB is the largest threshold of mmap that it accepts.
_THRESHOLDS = {-3: 32 * 2**20, -1: 2**30}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory in this process, and return whether it does; other systems are left alone.

    glibc gives large blocks back as soon as they are free, and the next use pays a page fault for each 4 KiB. A run
    stops doing so after a while, because the thresholds rise with the blocks that are freed. A bare loop that has just
    started does not: a training step of the small ResNet with X-volution had 7,200 page faults, and 43 with these
    thresholds.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    return mallopt is not None and all(mallopt(name, value) for name, value in _THRESHOLDS.items())


def cpu_clock() -> float:
    """Seconds: CPU time if torch uses one thread, because other processes disturb it less, else wall-clock time."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds_per_call(
    call: Call, number: int, device: torch.device, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The mean time of `number` calls in a row: by `clock`, on CUDA between two events with an empty queue."""
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
    effort: Effort,
    name: str,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Key, list[float]]:
    """Seconds per call of each of `calls`, one value per round. Every round has a new random order.

    The order depends on the seed of `effort` and on `name`, the name of the measurement.

    Before the first round each is called twice. The first call pays for the choice of algorithms, and the second tells
    how many calls fill a sample.
    """
    numbers = {}
    for key, call in calls.items():
        seconds_per_call(call, 1, device, clock)
        numbers[key] = max(1, math.ceil(effort.seconds / seconds_per_call(call, 1, device, clock)))
    samples: dict[Key, list[float]] = {key: [] for key in calls}
    keys, shuffled = list(calls), random.Random(derive_seed(effort.seed, "order", name))
    for _ in range(effort.rounds):
        shuffled.shuffle(keys)
        for key in keys:
            samples[key].append(seconds_per_call(calls[key], numbers[key], device, clock))
    return samples


def saved_bytes(module: nn.Module, x: Tensor) -> int:
    """Bytes that a forward pass keeps for backward, without the input, the parameters and the buffers.

    It works on the meta device too.
    """
    return kept_bytes(lambda: module(x), [x, *module.parameters(), *module.buffers()])


def kept_bytes(call: Callable[[], Tensor], inputs: Iterable[Tensor]) -> int:
    """Bytes that `call` keeps for backward, without `inputs`. Views of one storage count once, as the whole storage."""
    kept: dict[int, torch.UntypedStorage] = {}
    own = {_identity(tensor) for tensor in inputs}

    def pack(tensor: Tensor) -> Tensor:
        if _identity(tensor) not in own:
            kept[_identity(tensor)] = tensor.untyped_storage()
        return tensor.detach()  # a kept output would keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call()  # alive until the sum is made, so that its storages are not reused
    total = sum(storage.nbytes() for storage in kept.values())
    del output
    return total


def _identity(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def peak_bytes(call: Call, device: torch.device) -> int:
    """The most bytes that the CUDA allocator held during `call`, above what it held before."""
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
