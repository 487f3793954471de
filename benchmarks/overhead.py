"""Mode `overhead`: a training step of this package against a bare PyTorch loop.

Both loops have the same network, the same optimizer, and the same batches in the same order.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback
from torch.nn import functional as F

from benchmarks import report
from benchmarks.measure import Row, ratio, spread
from benchmarks.session import Session
from lightning_xvol.config.recipes import DEFAULT, get_recipe
from lightning_xvol.config.resolved import resolve
from lightning_xvol.config.schema import RunConfig, set_value
from lightning_xvol.data.module import ImageDataModule
from lightning_xvol.modules.base import make_optimizer
from lightning_xvol.training.run import MEMORY_FORMATS, RunContext, build_network, train
from lightning_xvol.training.tracking import Tracking

COLUMNS = ("loop", "operator", "recipe", "batch", "steps", "milliseconds", "q1", "q3", "over_bare")
SUITE, BARE = "lightning_xvol", "bare PyTorch"
# The first steps of a process choose algorithms and allocate memory.
WARM_UP = 10
STEPS, SMOKE_STEPS = 40, 5

NOTES = (
    "Milliseconds per training step, of CPU time on a CPU: median [quartiles] of the rounds, in which the loops take "
    "turns. Both loops train the same network from the same weights on the same batches in the same order with the "
    "same optimizer. The suite's step includes its seeding, its check of the loss and its log. Neither includes "
    "checkpoints and the ends of epochs.",
)


def run(parsed: argparse.Namespace, session: Session) -> None:
    """Measure both loops with each operator of `parsed`."""
    steps, device = SMOKE_STEPS if parsed.smoke else STEPS, session.machine.device
    rows = [row for name in parsed.operators for row in measure(name, steps, parsed.rounds, parsed.threads, device)]
    text = table(rows)
    print(text)
    print(session.write("overhead", "Overhead", NOTES, text, COLUMNS, rows))


def measure(operator: str, steps: int, rounds: int, threads: int, device: torch.device) -> list[Row]:
    """A row per loop. Each round takes `steps` steps of the default recipe in float32."""
    config = _config(operator, steps + WARM_UP, threads)
    samples: dict[str, list[float]] = {SUITE: [], BARE: []}
    for number in range(rounds):
        loops = [(SUITE, _suite), (BARE, _bare)]
        for name, loop in loops if number % 2 else reversed(loops):
            samples[name].append(loop(config, device))
    rows = []
    for name, seconds in samples.items():
        found = spread([1000 * value for value in seconds])
        rows.append(
            {
                "loop": name,
                "operator": operator,
                "recipe": DEFAULT,
                "batch": config.data.batch_size,
                "steps": steps,
                "milliseconds": found.median,
                "q1": found.low,
                "q3": found.high,
                "over_bare": ratio(seconds, samples[BARE]),
            }
        )
    return rows


def _config(operator: str, steps: int, threads: int) -> RunConfig:
    """One epoch of `steps` steps, with a checkpoint only at its end."""
    config = get_recipe(DEFAULT).config(operator)
    for path, value in {
        "train.steps": steps,
        "train.checkpoint_every": steps,
        "train.precision": "32-true",
        "train.threads": threads,
        "data.train_size": steps * config.data.batch_size,
        "data.validation_size": config.data.batch_size,
        "data.test_size": config.data.batch_size,
    }.items():
        config = set_value(config, path, value)
    return resolve(config)


def _now(device: torch.device) -> float:
    """Seconds: CPU time of this process, which other processes do not disturb; wall-clock time on a GPU."""
    return time.process_time() if device.type == "cpu" else time.perf_counter()


class _Clock(Callback):
    """Records when each step begins."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.times = device, list[float]()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.times.append(_now(self.device))


def _per_step(times: list[float]) -> float:
    """The mean time of a step after the warm-up, from the times at which steps begin."""
    return (times[-1] - times[WARM_UP]) / (len(times) - 1 - WARM_UP)


def _suite(config: RunConfig, device: torch.device) -> float:
    clock = _Clock(device)
    with tempfile.TemporaryDirectory(prefix="lightning-xvol-overhead-") as folder:
        train(config, Path(folder), RunContext(tracking=Tracking("disabled"), callbacks=(clock,)))
    return _per_step(clock.times)


def _bare(config: RunConfig, device: torch.device) -> float:
    data = ImageDataModule(config)
    network = build_network(config, data.num_classes, data.image_shape[0]).to(device).train()
    optimisers = make_optimizer(network, config.optim, data.plan.total_steps)
    optimizer, scheduler = optimisers["optimizer"], optimisers["lr_scheduler"]["scheduler"]
    layout = MEMORY_FORMATS[config.train.memory_format]
    times = []
    for images, labels in _batches(data, device):
        times.append(_now(device))
        loss = F.cross_entropy(network(images.contiguous(memory_format=layout)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return _per_step(times)


def _batches(data: ImageDataModule, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for batch in data.loader_of_epoch(0):
        images, labels, _ = data.normalise(batch)
        yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        [
            row["operator"],
            row["loop"],
            str(row["batch"]),
            f"{row['milliseconds']:.2f} [{row['q1']:.2f}, {row['q3']:.2f}]",
            f"{row['over_bare']:.3f}{report.TIMES}",
        ]
        for row in rows
    ]
    return report.markdown(["operator", "loop", "batch", "ms per step", "to bare"], lines)
