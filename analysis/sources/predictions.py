"""The predictions that a classification leaves: `predictions.npz`, checked when it is read.

`lightning_xvol.ledger.record.PREDICTIONS` describes the file.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files

MOST_BYTES = 1 << 28
"""More than 10 million images; a file that claims more is not read."""
_POINTS = 1e-3
"""How far accuracies in percent may differ that are equal but for rounding to float32 and to four digits."""
_KINDS = {"index": "iu", "label": "iu", "predicted": "iu", "score": "f", "classes": "U"}


@dataclass(frozen=True)
class Predictions:
    """What the last weights of a run predict for the N images of a split.

    Attributes:
        label, predicted: The number of the true class and of the predicted class, `[N]`.
        score: The softmax probability of the predicted class, `[N]`.
        classes: The names of the C classes.
    """

    label: np.ndarray
    predicted: np.ndarray
    score: np.ndarray
    classes: tuple[str, ...]

    def confusion(self) -> np.ndarray:
        """The number of images of each true class (rows) by predicted class (columns), `[C, C]`."""
        size = len(self.classes)
        counts = np.bincount(self.label.astype(np.int64) * size + self.predicted, minlength=size**2)
        return counts.reshape(size, size)


def read_predictions(
    path: Path, result: Mapping[str, Any], read: Callable[[Path], bytes] = files.read_bytes
) -> Predictions | None:
    """The predictions in the file `path` of the run with the record `result`; None where there is no such file.

    Args:
        path: The file.
        result: The record of the run.
        read: How the file is read; it raises an OSError for one that must not be read.

    Raises:
        UserError: for a file that is damaged, or that belongs to another run.
    """
    if not path.exists():
        return None
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        arrays = _arrays(read(path))
        fault = _fault(arrays) or _foreign(arrays, result)
    except Exception as error:  # a damaged archive fails in many ways, from zlib.error to NotImplementedError
        why = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        fault = f"it cannot be read ({why})"
    if fault:
        raise UserError(f"{str(path)!r} holds no predictions of its run: {fault}; --force runs the cell again")
    labels, predicted = (arrays[name].astype(np.int64) for name in ("label", "predicted"))
    classes = tuple(_printable(name) or str(number) for number, name in enumerate(arrays["classes"].tolist()))
    return Predictions(labels, predicted, arrays["score"], classes)


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
            raise ValueError(f"its arrays have more than {MOST_BYTES} bytes")
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in _KINDS if name in file.files}


def _fault(arrays: Mapping[str, np.ndarray]) -> str:
    """What is wrong with `arrays`; empty if nothing is."""
    for name, kinds in _KINDS.items():
        if name not in arrays:
            return f"it has no array {name!r}"
        array = arrays[name]
        if array.ndim != 1 or array.dtype.kind not in kinds:
            return f"{name!r} is {array.dtype} of shape {array.shape}"
    images, size = len(arrays["index"]), len(arrays["classes"])
    if images == 0 or any(len(arrays[name]) != images for name in ("label", "predicted", "score")):
        return "its arrays differ in length, or are empty"
    if not (arrays["index"] == np.arange(images)).all():
        return f"'index' does not count from 0 to {images - 1}, each number once"
    for name in ("label", "predicted"):
        low, high = int(arrays[name].min()), int(arrays[name].max())
        if low < 0 or high >= size:
            return f"{name!r} reaches from {low} to {high}, and there are {size} classes"
    if not ((arrays["score"] >= 0) & (arrays["score"] <= 1 + 1e-6)).all():
        return "a score is not between 0 and 1"
    return ""


def _foreign(arrays: Mapping[str, np.ndarray], result: Mapping[str, Any]) -> str:
    """Why the predictions are those of another run than the one with the record `result`; empty if they are not."""
    metrics = result.get("metrics")
    top1 = metrics.get("top1") if isinstance(metrics, dict) else None
    recorded = top1.get("last") if isinstance(top1, dict) else None
    found = 100 * float((arrays["label"] == arrays["predicted"]).mean())
    if isinstance(recorded, (int, float)) and not abs(found - recorded) <= _POINTS:
        return f"their accuracy is {found:.4f} %, and the record says {recorded:.4f} %"
    return ""
