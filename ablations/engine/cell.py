"""The run of one cell. No other module of this package reaches into training."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ablations.engine.sweep import Cell
from ablations.engine.tracked import tracking_of
from lightning_xvol.commandline import Reached, is_helper_process
from lightning_xvol.config.metrics import METRICS
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.errors import UserError, one_line
from lightning_xvol.ledger import contents, files, record
from lightning_xvol.ledger.origins import check_weights
from lightning_xvol.surroundings import signals, streams

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
        protocol: The file and the SHA-256 of the protocol of the experiment, if it has one.
        wandb_entity, wandb_tags, wandb_notes, wandb_system, wandb_artifacts: As in `ablations.engine.options.Options`.
        recipe, smoke: The recipe, and whether the budget is a few steps; both for the names of tracked runs.
        axis_labels: The labels of the sweep's axes; for the same names.
    """

    out: Path
    sweep: str
    data_dir: Path | None
    download: bool
    wandb: Literal["offline", "online", "disabled"]
    wandb_project: str
    nodes: int = 1
    protocol: Mapping[str, str] | None = None
    wandb_entity: str | None = None
    wandb_tags: tuple[str, ...] = ()
    wandb_notes: str | None = None
    wandb_system: bool = False
    wandb_artifacts: bool = False
    recipe: str = ""
    smoke: bool = False
    axis_labels: Mapping[str, str] = field(default_factory=dict)


def state(cell: Cell, out: Path) -> State:
    """The state of `cell`, from its own files alone."""
    folder = cell.folder(out)
    result = record.read_result(folder)
    if result is not None and result["cell_id"] == cell.id:
        return "diverged" if result["status"] == "diverged" else "done"
    if (folder / "failure.json").exists():
        return "failed"
    return "interrupted" if any((folder / "checkpoints").glob("step=*.ckpt")) else "missing"


@dataclass(frozen=True)
class Begun:
    """A run that has seen data: its configuration, how messages call it, and the contents of the data."""

    config: RunConfig
    where: str
    data: Mapping[str, Any]


def begun(cells: Sequence[Cell], out: Path) -> tuple[list[Begun], int]:
    """The runs of `cells` that have seen data, and the number of finished runs that are older than the digest."""
    found, old = [], 0
    for cell in {cell.id: cell for cell in cells}.values():
        folder = cell.folder(out)
        result = record.read_result(folder)
        old += result is not None and result.get("data") is None
        data = contents.begun_on(folder) if result is None else result.get("data")
        if data is not None:
            found.append(Begun(cell.config, f"run {cell.id} in {str(out)!r} ({cell.name})", data))
    return found, old


def has_result(cell: Cell, out: Path) -> bool:
    """Whether `cell` has ended with a result. Only such a cell is not run again."""
    return state(cell, out) in ("done", "diverged")


def run_cell(
    cell: Cell, context: SweepContext, report: Callable[[Reached], None] | None = None, progress_bar: bool = False
) -> tuple[Outcome, str]:
    """Train `cell` unless it is done. Returns the outcome and one line of detail.

    A failure is an outcome, because the other cells go on. Only what ends a process is raised, such as Ctrl-C.
    """
    from lightning_xvol.ledger.locking import Held
    from lightning_xvol.training.run import RunContext, train

    run_context = RunContext(
        data_dir=context.data_dir,
        download=context.download,
        tracking=tracking_of(cell, context),
        progress_bar=progress_bar,
        report=report,
        nodes=context.nodes,
        protocol=context.protocol,
    )
    try:
        with _threads_kept():
            result = train(cell.config, cell.folder(context.out), run_context)
    except Held:
        return "held", "another process works on it"
    except Exception as error:
        if signals.settle(error):
            raise signals.Terminated from error
        if not isinstance(error, UserError):
            _log_traceback(cell.folder(context.out))
        return "failed", one_line(error)
    return _outcome(result)


def progress_lines(cell: Cell) -> Callable[[Reached], None]:
    """Prints the progress of `cell` as lines, for where no terminal can show a bar."""
    from lightning_xvol.training.progress import Lines

    return Lines(cell.name)


@contextlib.contextmanager
def _threads_kept() -> Iterator[None]:
    """Restore the number of threads of the caller's process, because a recipe changes it for its runs."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def write_to_log(cell: Cell, context: SweepContext) -> None:
    """Let this process print into the cell's `log.txt` from now on."""
    folder = files.make_folder(cell.folder(context.out))
    streams.write_into(files.open_to_add(folder / "log.txt"))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {cell.name}, process {os.getpid()}", flush=True)


def _outcome(result: dict) -> tuple[Outcome, str]:
    return ("diverged" if result["status"] == "diverged" else "done"), summary(result)


def _log_traceback(folder: Path) -> None:
    try:
        with files.open_text(folder / "log.txt", "a") as file:
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


def tracking_note(cell: Cell, out: Path) -> str | None:
    """A sentence where the finished `cell` was not tracked as the user asked."""
    note = (record.read_result(cell.folder(out)) or {}).get("tracking")
    return note if isinstance(note, str) else None


def summary(result: dict) -> str:
    """The metrics of a finished cell in a few words."""
    metrics = [
        f"{name} {values['last']:.1f}"
        for name, values in (result["metrics"] or {}).items()
        if name in {metric.name for metric in METRICS.values()} and values.get("last") is not None
    ]
    return ", ".join(metrics)


def preflight(configs: Sequence[RunConfig], context: SweepContext, begun: Sequence[Begun] = ()) -> None:
    """Build the data and every network (on the meta device), to find a mistake before anything is written.

    It prints a note if an operator has taps that can never be inside the map, or if a fine-tuning has no effect on any
    row. `begun` are runs that stand in the same tables as `configs`. They must have seen the same data.

    Raises:
        UserError: for missing data, other data, an operator or option that cannot be built, weights that do not fit, or
            what W&B refuses.
    """
    import torch

    from lightning_xvol.training.pretrained import check_pretrained
    from lightning_xvol.training.tasks import taps_outside, task_of, without_effect
    from lightning_xvol.training.tracking import check_tracking

    check_tracking(tracking_of(None, context))

    read = _Data(context.data_dir, context.download)
    told: dict[str, None] = {}
    unused: list[list[str]] = []
    # Configurations that differ only in the seed or the budget have the same network.
    for config in {_network_of(one): one for one in configs}.values():
        try:
            check_weights(config)
            num_classes, image_shape = read.shape(config)
            with torch.device("meta"):
                network = task_of(config).network(config, num_classes, image_shape[0])
            check_pretrained(network, config)
        except UserError:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"cannot build {config.operator.name!r} in {config.backbone.name!r} for {config.data.name!r}: "
                f"{one_line(error)} ({last.filename}, line {last.lineno})"
            ) from error
        told |= dict.fromkeys(taps_outside(config, network, image_shape))
        unused.append(without_effect(config, network))
    if all(unused):  # rows without a product stand beside others as their controls
        told |= dict.fromkeys(note for notes in unused for note in notes)
    if not is_helper_process():
        for note in told:
            print(f"note: {note}", flush=True)
    for run in begun:
        try:
            here = read.contents(run.config)
        except UserError:  # the data of finished runs need not be here
            continue
        contents.check(run.data, here, run.config.data, run.where)


def _network_of(config: RunConfig) -> str:
    """A text that is equal for configurations with equal networks and notes."""
    fine_tuned = config.train.finetune_ablated
    return repr((config.data, config.backbone, config.detector, config.operator, fine_tuned))


class _Data:
    """Reads each data set of a sweep once, and keeps only what the checks before a sweep need of it."""

    def __init__(self, data_dir: Path | None, download: bool) -> None:
        self.data_dir, self.download = data_dir, download
        self.shapes: dict[str, tuple[int, tuple[int, int, int]]] = {}
        self.found: dict[str, Mapping[str, Any]] = {}

    def shape(self, config: RunConfig) -> tuple[int, tuple[int, int, int]]:
        """The number of classes, and the shape of an image."""
        if repr(config.data) not in self.shapes:
            self._read(config)
        return self.shapes[repr(config.data)]

    def contents(self, config: RunConfig) -> Mapping[str, Any]:
        if repr(config.data) not in self.found:
            self._read(config)
        return self.found[repr(config.data)]

    def _read(self, config: RunConfig) -> None:
        import torch

        from lightning_xvol.training.tasks import task_of

        with _threads_kept():
            torch.set_num_threads(config.train.threads)  # a run in this process may get these very tensors again
            data = task_of(config).data(config, self.data_dir, download=self.download)
            self.shapes[repr(config.data)] = data.num_classes, data.image_shape
            self.found[repr(config.data)] = data.contents


def trial(cells: Sequence[Cell], data_dir: Path | None, download: bool) -> dict[str, Cost]:
    """Measure the cost of each group of `cells` by a few training steps on random images. It takes some seconds in all.

    A cell that fails here is left out; its run will say why. The time leaves out evaluation, the start of a run and the
    heads of a detector. The size is that of the last checkpoint: the weights, and per weight the momentum of SGD or the
    two moments of AdamW.
    """
    import torch

    from lightning_xvol.data.module import ImageDataModule
    from lightning_xvol.training.run import build_network
    from lightning_xvol.training.tasks import task_of

    modules: dict[str, ImageDataModule] = {}
    costs = {}
    for cell in cells:
        key = repr(cell.config.data)
        with contextlib.suppress(Exception), _threads_kept():
            torch.set_num_threads(cell.config.train.threads)
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
