"""One cell: the only place of this package that reaches into training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ablations.sweep import Cell
from lightning_xvol import record
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
            import traceback

            traceback.print_exc()
        return "failed", f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    return ("diverged" if result["status"] == "diverged" else "done"), summary(result)


def summary(result: dict) -> str:
    """The metrics of a finished cell in a few words."""
    metrics = [
        f"{name} {values['last']:.1f}"
        for name, values in result["metrics"].items()
        if name in ("top1", "box_ap", "mask_ap")
    ]
    return ", ".join(metrics)


def preflight(configs: Sequence[RunConfig], data_dir: Path | None, download: bool) -> None:
    """Build the data and, on the meta device, every network, so that a mistake shows before anything is written.

    Raises:
        UserError: for missing data, or an operator or option that cannot be built.
    """
    import torch

    from lightning_xvol.backbones import build_backbone
    from lightning_xvol.data import build_data

    shapes = {}
    for config in configs:
        key = repr(config.data)
        if key not in shapes:
            data = build_data(config.data, data_dir, download=download)
            shapes[key] = data.num_classes, data.image_shape[0]
        num_classes, channels = shapes[key]
        with torch.device("meta"):
            build_backbone(config.backbone, config.operator, num_classes=num_classes, in_channels=channels)
