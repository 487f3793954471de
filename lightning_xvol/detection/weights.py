"""Pretrained weights for the body of a detector: torchvision's, or a checkpoint of our own classification run.

`load_state_dict(strict=False)` alone would accept a file that fits nowhere. Here every weight of the model comes from
the file or belongs to an operator that is declared new; otherwise loading fails. `LoadReport` lists every key.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xvol.backbones.strides import MARK
from lightning_xvol.detection.model import Detector
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.checkpoints import network_weights, read_checkpoint
from lightning_xvol.ledger.files import open_bytes

_TABLES = ("positions.rows", "positions.columns")  # the tables of RelativePositions, [2 L - 1, C]


@dataclass(frozen=True)
class LoadReport:
    """What happened to each key, by its name in the ResNet (`layer4.0.conv2.conv.weight`).

    Attributes:
        loaded: keys taken from the file unchanged.
        resized: tables of relative positions, taken from the file and stretched to another size.
        new: keys of operators that are declared new; they keep their random values.
        unexpected: keys in the file that the model does not have, such as the classifier `fc`.
        fraction: the part of the body's values that the file provides.
    """

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    new: tuple[str, ...]
    unexpected: tuple[str, ...]
    fraction: float

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} keys loaded ({self.fraction:.1%} of the values)"]
        for name, keys in (("resized", self.resized), ("new", self.new), ("unexpected", self.unexpected)):
            parts.append(f"{len(keys)} {name}" + (f" ({_some(keys)})" if keys else ""))
        return ", ".join(parts)


def load_backbone(detector: Detector, path: Path) -> LoadReport:
    """Load the ResNet's weights from the file at `path` into `detector`.

    Raises:
        UserError: for a file that is missing, torn or without a ResNet's weights; for weights of another origin than
            the detector's `pretraining`; for weights of another stride; for a missing weight that belongs to no
            operator declared new; and for another shape.
    """
    weights = _read(path)
    body = detector.backbone.body
    _check_origin(detector, weights, path)
    _rename_convolutions(weights, detector)
    own = {key: value for key, value in body.state_dict().items() if not _is_bookkeeping(key)}
    resized = tuple(key for key, value in own.items() if key in weights and _fit_table(weights, key, value))
    missing = [key for key in own if key not in weights]
    new = tuple(key for key in missing if key.startswith(tuple(f"{name}." for name in detector.new)))
    _check_missing([key for key in missing if key not in new], detector, path)
    for key, value in own.items():
        if key in weights and weights[key].shape != value.shape:
            raise UserError(
                f"{key} is {[*weights[key].shape]} in {str(path)!r} and {[*value.shape]} in the model; "
                "build the detector with the backbone and options of the classifier"
            )
    unexpected = tuple(key for key in weights if key not in own and not _is_bookkeeping(key))
    body.load_state_dict({key: value for key, value in weights.items() if key not in unexpected}, strict=False)
    loaded = tuple(key for key in own if key in weights and key not in resized)
    values = sum(own[key].numel() for key in (*loaded, *resized))
    return LoadReport(loaded, resized, new, unexpected, values / sum(value.numel() for value in own.values()))


def _read(path: Path) -> dict[str, Tensor]:
    legacy = path.is_file() and not zipfile.is_zipfile(path)
    content = _read_legacy(path) if legacy else read_checkpoint(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = network_weights(content)
    tensors = content if isinstance(content, dict) else {}
    if "conv1.weight" not in tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UserError(
            f"{str(path)!r} holds no weights of a ResNet; expected torchvision's state dict or a checkpoint of a "
            "classification run"
        )
    return tensors


def _read_legacy(path: Path) -> object:
    """A file in the format of torch before version 1.6, as some of torchvision's files are."""
    try:
        with open_bytes(path) as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{str(path)!r} is incomplete or holds no weights; fetch the file again") from error


def _check_origin(detector: Detector, weights: dict[str, Tensor], path: Path) -> None:
    marked = any(MARK in key for key in weights)
    if detector.pretraining == "random":
        raise UserError(f"the detector was built for random weights, not for {str(path)!r}; set its pretraining")
    if detector.pretraining == "torchvision" and marked:
        raise UserError(
            f"{str(path)!r} is a checkpoint of our own and the detector was built for torchvision's weights; "
            "build it with pretraining='own'"
        )
    if detector.pretraining == "own" and not marked and any(MARK in key for key in detector.backbone.body.state_dict()):
        raise UserError(
            f"{str(path)!r} does not say where its blocks stride, so it is no checkpoint of our own; "
            "build the detector with pretraining='torchvision'"
        )


def _rename_convolutions(weights: dict[str, Tensor], detector: Detector) -> None:
    """Rename torchvision's `conv2.weight` to `conv2.conv.weight`, its name in our convolution."""
    for path in detector.replaced:
        if path not in detector.new and f"{path}.weight" in weights:
            weights[f"{path}.conv.weight"] = weights.pop(f"{path}.weight")


def _fit_table(weights: dict[str, Tensor], key: str, wanted: Tensor) -> bool:
    """Stretch a table of relative positions to its size in the model (linear, aligned ends), and return whether it did.

    A table that has the right size already, and any other weight, is left alone.
    """
    table = weights[key]
    if not key.endswith(_TABLES) or table.shape == wanted.shape or table.shape[1:] != wanted.shape[1:]:
        return False
    stretched = F.interpolate(table.mT[None].float(), size=len(wanted), mode="linear", align_corners=True)
    weights[key] = stretched[0].mT.to(table.dtype)
    return True


def _check_missing(keys: Sequence[str], detector: Detector, path: Path) -> None:
    if keys:
        declared = ", ".join(detector.new) or "nothing"
        raise UserError(
            f"{str(path)!r} lacks {len(keys)} weights of the model ({_some(keys)}) and only {declared} was declared "
            "new; use the weights of the same backbone and operator"
        )


def _is_bookkeeping(key: str) -> bool:
    """Whether the key is no weight: the mark of a block's stride, or the number of batches that a norm has seen."""
    return MARK in key or key.endswith("num_batches_tracked")


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
