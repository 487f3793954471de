"""Checkpoints that are whole or absent, hold plain data only, and fall back to the older one when the newest is torn.

They are ordinary Lightning checkpoints without the state of Lightning's loops: a resumed run starts those loops
anew at the saved step, because the order of the data and every random number are functions of seed, epoch and step
(`lightning_xvol.data.module`).
"""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO

from lightning_xvol.errors import UserError
from lightning_xvol.ledger.files import write_by

KEEP = 2
_NAME = re.compile(r"step=(\d+)\.ckpt")

log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs and renames: Lightning's move from $TMPDIR can tear."""

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
    """Remove all but the newest `keep` of a run that is at `step`.

    One of a later step is torn or another run's: it must not count, or it would push out the good ones.
    """
    own = [path for path in list_checkpoints(folder) if path.name <= checkpoint_path(folder, step).name]
    for path in set(list_checkpoints(folder)).difference(own[:keep]):
        path.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The plain data in the checkpoint at `path`.

    Raises:
        UserError: where the file is missing, torn, or holds anything but tensors and plain data.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {str(path)!r}")
    try:
        # A truncated archive fails to open; a damaged one fails its checksums, which torch.load does not look at.
        # Two fields have no checksum: a flipped bit makes an entry a folder, which torch leaves uninitialised, or
        # compressed, which torch never writes.
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
        raise UserError(f"the checkpoint {str(path)!r} is torn or not a checkpoint; use an older one") from error


def newest_intact(folder: Path, cell_id: str) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of `cell_id` in `folder` that reads whole, with what it holds; None where there is none."""
    for path in list_checkpoints(folder):
        try:
            checkpoint = read_checkpoint(path)
        except UserError as error:
            log.warning("%s; falling back", error)
            continue
        if isinstance(checkpoint, dict) and checkpoint.get("run", {}).get("cell_id") == cell_id:
            return path, checkpoint
    return None
