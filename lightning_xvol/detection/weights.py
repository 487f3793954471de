"""Pretrained weights for the body of a detector: torchvision's, or a checkpoint of our own classification run.

The rules are those of `lightning_xvol.backbones.pretrained`. Tables of relative positions are stretched besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

from lightning_xvol.backbones import pretrained
from lightning_xvol.backbones.pretrained import LoadReport
from lightning_xvol.backbones.strides import MARK
from lightning_xvol.detection.model import Detector
from lightning_xvol.errors import UserError

_TABLES = ("positions.rows", "positions.columns")  # the tables of RelativePositions, [2 L - 1, C]


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
    pretrained.rename_convolutions(weights, [name for name in detector.replaced if name not in detector.new])
    own = pretrained.weights_of(body)
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
    taken = {key: weights[key] for key in own if key in weights}
    pretrained.load(body, taken, weights)
    return pretrained.make_report(own, taken, resized, new, weights)


def _read(path: Path) -> dict[str, Tensor]:
    tensors = pretrained.read_weights(path)
    if "conv1.weight" not in tensors:
        raise UserError(
            f"{str(path)!r} holds no weights of a ResNet; expected torchvision's state dict or a checkpoint of a "
            "classification run"
        )
    return tensors


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
            f"{str(path)!r} lacks {len(keys)} weights of the model ({pretrained.some(keys)}) and only {declared} was "
            "declared new; use the weights of the same backbone and operator"
        )
