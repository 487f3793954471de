"""Checkpoints that are written whole or not at all and hold plain data only. A torn one falls back to an older one.

They are Lightning checkpoints without the state of Lightning's loops. A resumed run starts the loops anew at the saved
step, because the order of the data and every random number are functions of seed, epoch and step
(`lightning_xvol.data.module`).
"""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO
from torch import Tensor, nn

from lightning_xvol.errors import UserError
from lightning_xvol.ledger.files import write_by

KEEP = 2
_NAME = re.compile(r"step=(\d+)\.ckpt")

log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs and renames. Lightning's own move from $TMPDIR can leave a torn file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_by(Path(path), lambda file: torch.save(checkpoint, file))

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = True) -> Any:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step={step:08d}.ckpt"


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, newest first."""
    found = [path for path in folder.glob("step=*.ckpt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name, reverse=True)


def prune(folder: Path, step: int, keep: int = KEEP) -> None:
    """Remove all but the newest `keep` checkpoints of a run that is at `step`.

    A checkpoint of a later step is torn or belongs to another run. It does not count: it would push out a good one.
    """
    own = [path for path in list_checkpoints(folder) if path.name <= checkpoint_path(folder, step).name]
    for path in set(list_checkpoints(folder)).difference(own[:keep]):
        path.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The plain data in the checkpoint at `path`.

    Raises:
        UserError: for a file that is missing, is torn, or holds anything but tensors and plain data.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {str(path)!r}")
    try:
        # A truncated archive does not open. A damaged one fails its checksums, which torch.load does not check. Two
        # fields have no checksum: one flipped bit turns a file into a folder, which torch leaves uninitialised, another
        # marks it as compressed, which torch never writes.
        with zipfile.ZipFile(path) as archive:
            odd = [entry.filename for entry in archive.infolist() if entry.external_attr or entry.compress_type]
            damaged = odd[0] if odd else archive.testzip()
        if damaged is not None:
            raise UserError(f"the checkpoint {str(path)!r} is damaged (in {damaged}); use an older one")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"the checkpoint {str(path)!r} holds more than tensors and plain data; "
            "it is not loaded, because unpickling can run code"
        ) from error
    except (zipfile.BadZipFile, RuntimeError, EOFError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the checkpoint {str(path)!r} is incomplete or not a checkpoint; use an older one") from error


def network_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of the network in the content of a checkpoint, by their names in the network."""
    prefix = "network."  # every module in `lightning_xvol.modules` has its network under this name
    state = checkpoint["state_dict"].items()
    return {name.removeprefix(prefix): tensor for name, tensor in state if name.startswith(prefix)}


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load `weights`, which come from the file at `path`, into `network`.

    Raises:
        UserError: for weights that do not fit.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the weights in {str(path)!r} do not fit their configuration's network: {reason}") from error


def newest_intact(folder: Path, cell_id: str) -> tuple[Path, dict[str, Any]] | None:
    """The newest intact checkpoint of `cell_id` in `folder` and its content, or None."""
    for path in list_checkpoints(folder):
        try:
            checkpoint = read_checkpoint(path)
        except UserError as error:
            log.warning("%s; falling back", error)
            continue
        if isinstance(checkpoint, dict) and checkpoint.get("run", {}).get("cell_id") == cell_id:
            return path, checkpoint
    return None
