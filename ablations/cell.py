"""One cell: the only place of this package that reaches into training."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablations.sweep import Cell
from lightning_xvol import files, record
from lightning_xvol.config import RunConfig
from lightning_xvol.errors import UserError

State = Literal["done", "diverged", "interrupted", "failed", "missing"]
Outcome = Literal["done", "diverged", "held", "failed"]


@dataclass(frozen=True)
class Settings:
    """What every cell of a command shares and no result depends on."""

    out: Path
    sweep: str
    data_dir: Path | None
    download: bool
    wandb: Literal["offline", "online", "disabled"]
    wandb_project: str


def state(cell: Cell, out: Path) -> State:
    """Where `cell` stands, from its own files alone."""
    folder = cell.folder(out)
    result = record.read_result(folder)
    if result is not None:
        return "diverged" if result["status"] == "diverged" else "done"
    if (folder / "failure.json").exists():
        return "failed"
    return "interrupted" if any((folder / "checkpoints").glob("step=*.ckpt")) else "missing"


def run_cell(
    cell: Cell, settings: Settings, report: Callable[[int, int], None] | None = None, progress_bar: bool = False
) -> tuple[Outcome, str]:
    """Train `cell` unless it is done, and say how that ended, with one line of detail.

    Raises:
        nothing but what ends a process: a cell's failure is an outcome, because the other cells go on.
    """
    from lightning_xvol.locking import Held
    from lightning_xvol.tracking import Tracking
    from lightning_xvol.training import Surroundings, train

    labels = {"row": cell.row, **{f"axis_{axis}": value for axis, value in cell.axes.items()}}
    surroundings = Surroundings(
        data_dir=settings.data_dir,
        download=settings.download,
        tracking=Tracking(settings.wandb, settings.wandb_project, settings.sweep, labels),
        progress_bar=progress_bar,
        report=report,
    )
    try:
        result = train(cell.config, cell.folder(settings.out), surroundings)
    except Held:
        return "held", "another process works on it"
    except Exception as error:
        if not isinstance(error, UserError):
            _log_traceback(cell.folder(settings.out))
        return "failed", _one_line(error)
    return _outcome(result)


def _outcome(result: dict) -> tuple[Outcome, str]:
    return ("diverged" if result["status"] == "diverged" else "done"), summary(result)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _log_traceback(folder: Path) -> None:
    try:
        with (folder / "log.txt").open("a") as file:
            traceback.print_exc(file=file)
    except OSError:  # no folder yet, or a full disk
        traceback.print_exc()


def record_death(cell: Cell, settings: Settings, error: str) -> tuple[Outcome, str]:
    """The outcome of a process that ended without telling: what it recorded, or a failure, which is written for it."""
    folder = cell.folder(settings.out)
    result = record.read_result(folder)
    if result is not None:
        return _outcome(result)
    segments = files.read_json(folder / "segments.json")
    step = segments[-1]["end_step"] if isinstance(segments, list) and segments else 0
    with contextlib.suppress(OSError):
        record.write_failure(folder, error, step)
    return "failed", error


def summary(result: dict) -> str:
    """The metrics of a finished cell in a few words."""
    metrics = [
        f"{name} {values['last']:.1f}"
        for name, values in result["metrics"].items()
        if name in ("top1", "explained_beyond_static", "box_ap", "mask_ap")
    ]
    return ", ".join(metrics)


def preflight(configs: Sequence[RunConfig], data_dir: Path | None, download: bool) -> None:
    """Build the data and, on the meta device, every network, so that a mistake shows before anything is written.

    Raises:
        UserError: for missing data, or an operator or option that cannot be built.
    """
    import torch

    from lightning_xvol.backbones import build_backbone
    from lightning_xvol.tasks import task_of

    shapes = {}
    # Seeds, and all that is no part of a network, make none anew.
    for config in {repr((one.data, one.backbone, one.operator)): one for one in configs}.values():
        key = repr(config.data)
        try:
            if key not in shapes:
                data = task_of(config).data(config, data_dir, download=download)
                shapes[key] = data.num_classes, data.image_shape[0]
            num_classes, channels = shapes[key]
            with torch.device("meta"):
                build_backbone(config.backbone, config.operator, num_classes=num_classes, in_channels=channels)
        except UserError:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise UserError(
                f"cannot build {config.operator.name!r} in {config.backbone.name!r} for {config.data.name!r}: "
                f"{_one_line(error)} ({last.filename}, line {last.lineno})"
            ) from error
