"""The run of one cell. No other module of this package reaches into training."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ablations.engine.sweep import Cell
from lightning_xvol.config import registry
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.errors import UserError, one_line
from lightning_xvol.ledger import files, record
from lightning_xvol.ledger.origins import check_weights

if TYPE_CHECKING:
    from torch import nn

TRIAL_SECONDS = 3.0
TRIAL_PIXELS = 1 << 18  # a larger batch is cut to this on a CPU, and its time scaled up

State = Literal["done", "diverged", "interrupted", "failed", "missing"]
Outcome = Literal["done", "diverged", "held", "failed"]


@dataclass(frozen=True)
class Cost:
    """The cost of one run: seconds of computing and bytes on disk."""

    seconds: float
    bytes: float


@dataclass(frozen=True)
class SweepContext:
    """What all cells of a command share. No result depends on it.

    Attributes:
        out: The ledger folder.
        sweep: The name of the sweep, and of its folder in `out`.
        data_dir: The folder that holds the data sets.
        download: Whether missing data may be downloaded.
        wandb: `offline`, `online` or `disabled`.
        wandb_project: The W&B project.
        nodes: The number of machines that each cell runs on.
    """

    out: Path
    sweep: str
    data_dir: Path | None
    download: bool
    wandb: Literal["offline", "online", "disabled"]
    wandb_project: str
    nodes: int = 1


def state(cell: Cell, out: Path) -> State:
    """The state of `cell`, from its own files alone."""
    folder = cell.folder(out)
    result = record.read_result(folder)
    if result is not None and result["cell_id"] == cell.id:
        return "diverged" if result["status"] == "diverged" else "done"
    if (folder / "failure.json").exists():
        return "failed"
    return "interrupted" if any((folder / "checkpoints").glob("step=*.ckpt")) else "missing"


def has_result(cell: Cell, out: Path) -> bool:
    """Whether `cell` has ended with a result. Only such a cell is not run again."""
    return state(cell, out) in ("done", "diverged")


def run_cell(
    cell: Cell, context: SweepContext, report: Callable[[int, int], None] | None = None, progress_bar: bool = False
) -> tuple[Outcome, str]:
    """Train `cell` unless it is done. Returns the outcome and one line of detail.

    A failure is an outcome, because the other cells go on. Only what ends a process is raised, such as Ctrl-C.
    """
    from lightning_xvol.ledger.locking import Held
    from lightning_xvol.training.run import RunContext, train
    from lightning_xvol.training.tracking import Tracking

    run_context = RunContext(
        data_dir=context.data_dir,
        download=context.download,
        tracking=Tracking(context.wandb, context.wandb_project, context.sweep, _labels(cell, context)),
        progress_bar=progress_bar,
        report=report,
        nodes=context.nodes,
    )
    try:
        with _threads_kept():
            result = train(cell.config, cell.folder(context.out), run_context)
    except Held:
        return "held", "another process works on it"
    except Exception as error:
        if not isinstance(error, UserError):
            _log_traceback(cell.folder(context.out))
        return "failed", one_line(error)
    return _outcome(result)


@contextlib.contextmanager
def _threads_kept() -> Iterator[None]:
    """Restore the number of threads of the caller's process, because a recipe changes it for its runs."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _labels(cell: Cell, context: SweepContext) -> dict[str, Any]:
    """The labels of a tracked run: its row, its axes, and the plan of the sweep. Tracked runs alone make the table."""
    labels = {"row": cell.row, **{f"axis_{axis}": value for axis, value in cell.axes.items()}}
    plan = files.read_json(context.out / context.sweep / "cells.json")
    if not isinstance(plan, dict) or cell.id not in {planned["cell_id"] for planned in plan["cells"]}:
        return labels  # another command has begun this sweep on another recipe in the meantime
    return {**labels, "plan_json": json.dumps(plan, separators=(",", ":"))}


def write_to_log(cell: Cell, context: SweepContext) -> None:
    """Let this process print into the cell's `log.txt` from now on."""
    folder = files.make_folder(cell.folder(context.out))
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {cell.name}, process {os.getpid()}", flush=True)


def _outcome(result: dict) -> tuple[Outcome, str]:
    return ("diverged" if result["status"] == "diverged" else "done"), summary(result)


def _log_traceback(folder: Path) -> None:
    try:
        with (folder / "log.txt").open("a") as file:
            traceback.print_exc(file=file)
    except OSError:  # no folder yet, or a full disk
        traceback.print_exc()


def record_death(cell: Cell, context: SweepContext, error: str) -> tuple[Outcome, str]:
    """The outcome of a process that ended without a message. If it left no record, this writes a failure for it."""
    folder = cell.folder(context.out)
    result = record.read_result(folder)
    if result is not None:
        return _outcome(result)
    with contextlib.suppress(OSError):
        segments = record.read_segments(folder / "segments.json")
        record.write_failure(folder, error, segments[-1]["end_step"] if segments else 0)
    return "failed", error


def summary(result: dict) -> str:
    """The metrics of a finished cell in a few words."""
    metrics = [
        f"{name} {values['last']:.1f}"
        for name, values in (result["metrics"] or {}).items()
        if name in {metric.name for metric in registry.METRICS.values()} and values.get("last") is not None
    ]
    return ", ".join(metrics)


def preflight(configs: Sequence[RunConfig], data_dir: Path | None, download: bool) -> None:
    """Build the data and every network (on the meta device), to find a mistake before anything is written.

    Raises:
        UserError: for missing data, or an operator or option that cannot be built.
    """
    import torch

    from lightning_xvol.training.tasks import task_of

    shapes = {}
    # Configurations that differ only in the seed or the budget have the same network.
    for config in {repr((one.data, one.backbone, one.detector, one.operator)): one for one in configs}.values():
        key = repr(config.data)
        try:
            check_weights(config)
            if key not in shapes:
                data = task_of(config).data(config, data_dir, download=download)
                shapes[key] = data.num_classes, data.image_shape[0]
            num_classes, channels = shapes[key]
            with torch.device("meta"):
                task_of(config).network(config, num_classes, channels)
        except UserError:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"cannot build {config.operator.name!r} in {config.backbone.name!r} for {config.data.name!r}: "
                f"{one_line(error)} ({last.filename}, line {last.lineno})"
            ) from error


def trial(cells: Sequence[Cell], data_dir: Path | None, download: bool) -> dict[str, Cost]:
    """Measure the cost of each group of `cells` by a few training steps on random images. It takes some seconds in all.

    A cell that fails here is left out; its run will say why. The time leaves out evaluation, the start of a run and the
    heads of a detector. The size is that of the last checkpoint: the weights, and per weight the momentum of SGD or the
    two moments of AdamW.
    """
    from lightning_xvol.data.module import ImageDataModule
    from lightning_xvol.training.run import build_network
    from lightning_xvol.training.tasks import task_of

    modules: dict[str, ImageDataModule] = {}
    costs = {}
    for cell in cells:
        key = repr(cell.config.data)
        with contextlib.suppress(Exception), _threads_kept():
            if key not in modules:
                modules[key] = task_of(cell.config).data(cell.config, data_dir, download=download)
            data = modules[key]
            network = build_network(cell.config, data.num_classes, data.image_shape[0])
            weights = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
            copies = 3 if cell.config.optim.optimizer == "adamw" else 2
            body = task_of(cell.config).body(network)
            seconds = _seconds_a_step(cell.config, body, data.image_shape, TRIAL_SECONDS / len(cells))
            costs[cell.group] = Cost(seconds * data.plan_for(cell.config).total_steps, copies * weights)
    return costs


def _seconds_a_step(config: RunConfig, network: nn.Module, image_shape: tuple[int, int, int], budget: float) -> float:
    """The seconds of a training step: the mean of as many as fit into `budget` seconds, after a first one."""
    import torch

    torch.set_num_threads(config.train.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6, momentum=0.9)
    size = config.data.batch_size // (config.train.devices * config.train.accumulate)  # images in one pass
    if device.type == "cpu":
        size = min(size, max(2, TRIAL_PIXELS // (image_shape[1] * image_shape[2])))
    images = torch.randn(size, *image_shape, device=device)

    def step() -> None:
        optimizer.zero_grad()
        outputs = network(images)
        levels = outputs.values() if isinstance(outputs, dict) else [outputs]  # a feature pyramid
        loss = sum(level.logsumexp(1).mean() for level in levels)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for an accelerator

    step()
    began, steps = time.monotonic(), 0
    while steps == 0 or time.monotonic() - began < budget:
        step()
        steps += 1
    per_process = config.data.batch_size / config.train.devices
    return (time.monotonic() - began) / steps * per_process / size
