"""Checkpoints that are written whole or not at all and hold plain data only. A torn one falls back to an older one.

They are Lightning checkpoints without the state of Lightning's loops. A resumed run starts the loops anew at the saved
step, because the order of the data and every random number are functions of seed, epoch and step
(`lightning_xvol.data.module`).
"""

from __future__ import annotations

import io
import logging
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from lightning_fabric.plugins import CheckpointIO
from torch import Tensor, nn

from lightning_xvol.errors import UserError
from lightning_xvol.ledger import checks, record
from lightning_xvol.ledger.files import open_bytes, write_by

KEEP = 2
_NETWORK = "network."  # every module in `lightning_xvol.modules` has its network under this name
_NAME = re.compile(r"step=(\d+)\.ckpt")

log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs and renames. Lightning's own move from $TMPDIR can leave a torn file."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_by(Path(path), lambda file: _save(checkpoint, file))

    def load_checkpoint(self, path: Any, map_location: Any | None = None, weights_only: bool | None = True) -> Any:
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


class _Noting(io.BufferedIOBase):
    """Writes to a file and keeps the system's error, which torch hides behind one about positions in its archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        """Nothing: `write_by` flushes the file."""


def _save(checkpoint: Mapping[str, Any], file: IO[bytes]) -> None:
    noting = _Noting(file)
    try:
        torch.save(checkpoint, noting)  # type: ignore[arg-type]  # only its `write` is called
    except RuntimeError as error:
        raise noting.error or error from None


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
        PermissionError: for a file that this process may not read.
    """
    try:
        file = open_bytes(path)
    except PermissionError:
        raise
    except OSError as error:
        raise UserError(f"no checkpoint at {str(path)!r}: {(error.strerror or str(error)).lower()}") from error
    with file:
        return _content(file, path)


def _content(file: IO[bytes], path: Path) -> dict[str, Any]:
    try:
        # A truncated archive does not open. A damaged one fails its checksums, which torch.load does not check. Two
        # fields have no checksum: one flipped bit turns a file into a folder, which torch leaves uninitialised, another
        # marks it as compressed, which torch never writes.
        with zipfile.ZipFile(file) as archive:
            odd = [entry.filename for entry in archive.infolist() if entry.external_attr or entry.compress_type]
            damaged = odd[0] if odd else archive.testzip()
        if damaged is not None:
            raise UserError(f"the checkpoint {str(path)!r} is damaged (in {damaged}); use an older one")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"the checkpoint {str(path)!r} holds more than tensors and plain data; "
            "it is not loaded, because unpickling can run code"
        ) from error
    except UserError:
        raise
    except Exception as error:  # the unpickler of torch raises nearly anything for a file that nobody wrote
        raise UserError(f"the checkpoint {str(path)!r} is incomplete or not a checkpoint; use an older one") from error


def _image_shape(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        yield from checks.unfit(value, path, "channels, height and width")
        return
    for length in value:
        yield from checks.whole_from(1, 16_384)(length, path)


_ROW = checks.fields({"name": checks.text, "step": checks.count}, {"epoch": checks.count})
RESUMABLE = checks.fields({"cell_id": checks.text, "step": checks.count, "rows": checks.list_of(_ROW)})
"""What a checkpoint says that a run can go on from."""
CELL = checks.fields(
    {"config": record.CONFIG},
    {
        "num_classes": checks.whole_from(1, 1_000_000),
        "image_shape": _image_shape,
        "classes": checks.list_of(checks.text),
    },
)
"""What the checkpoint of a cell says about its run. `from_dict` checks the fields of the configuration."""


def read_cell(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of the checkpoint of a cell, and what it says about the run (`CELL`).

    Raises:
        UserError: as `read_checkpoint`, and for a file that is not the checkpoint of a cell or has unfit values.
    """
    content = read_checkpoint(path)
    about = content.get("run") if isinstance(content, dict) else None
    if not isinstance(about, dict) or "config" not in about or not _is_state(content.get("state_dict")):
        raise UserError(
            f"{str(path)!r} is no checkpoint of a cell: expected one that `python -m lightning_xvol fit` or a sweep "
            "wrote, runs/cells/<id>/checkpoints/step=N.ckpt"
        )
    unfit = checks.problems(about, checks.plain, CELL)
    if unfit:
        raise UserError(f"{str(path)!r} has missing or unfit values: {unfit}; use another checkpoint")
    return content, about


def _is_state(state: Any) -> bool:
    """Whether `state` is a state dict whose network has tensors alone."""
    return isinstance(state, dict) and all(
        isinstance(key, str) and (isinstance(value, Tensor) or not key.startswith(_NETWORK))
        for key, value in state.items()
    )


def network_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of the network in the content of a checkpoint, by their names in the network."""
    state = checkpoint["state_dict"].items()
    return {name.removeprefix(_NETWORK): tensor for name, tensor in state if name.startswith(_NETWORK)}


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
        if _can_resume(checkpoint) and checkpoint["run"]["cell_id"] == cell_id:
            return path, checkpoint
    return None


def _can_resume(checkpoint: Any) -> bool:
    run, state = (checkpoint.get(key) if isinstance(checkpoint, dict) else None for key in ("run", "state_dict"))
    return not checks.problems(run, checks.plain, RESUMABLE) and _is_state(state)
