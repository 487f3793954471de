"""The weights that a run starts from, where its configuration names some."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import nn

from lightning_xvol.backbones import pretrained
from lightning_xvol.config import libraries
from lightning_xvol.config.resolved import Resolved
from lightning_xvol.config.schema import RunConfig
from lightning_xvol.detection.weights import load_backbone
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.checkpoints import list_checkpoints, newest_intact
from lightning_xvol.ledger.origins import file_sha256

log = logging.getLogger(__name__)


def load_pretrained(network: nn.Module, config: RunConfig) -> None:
    """Load the weights that `config` names for a classifier, or for the backbone of a detector, if it names any.

    Raises:
        UserError: as `check_pretrained` and `load_backbone`.
    """
    if config.backbone.is_pretrained:
        path, weights = _weights(config)
        taken, report = pretrained.plan_load(network, _replaced(network), config.backbone, weights, path)
        pretrained.load(network, taken, weights)
        log.info("weights from %s: %s", path, report.details())
    elif config.detector.weights is not None:
        detected = load_backbone(network, Path(config.detector.weights))  # type: ignore[arg-type]
        log.info("backbone from %s: %s", config.detector.weights, detected)


def check_pretrained(network: nn.Module, config: RunConfig) -> None:
    """Check that the weights that `config` names fit the classifier `network`, which may be on the meta device.

    Raises:
        UserError: for weights that do not fit, and for a file that is missing or is not the one of the identity.
    """
    if config.backbone.is_pretrained:
        path, weights = _weights(config)
        pretrained.plan_load(network, _replaced(network), config.backbone, weights, path)


def _weights(config: RunConfig) -> tuple[Path, Any]:
    backbone = config.backbone
    if backbone.pretrained is None:
        raise UserError(
            f"the weights with the SHA-256 {backbone.pretrained_sha256} are needed; name their file with "
            "backbone.pretrained=FILE"
        )
    found = file_sha256("backbone.pretrained", backbone.pretrained)
    if backbone.pretrained_sha256 not in (None, found):
        raise UserError(
            f"backbone.pretrained={backbone.pretrained!r} has the SHA-256 {found}, and this run starts from a file "
            f"with {backbone.pretrained_sha256}; name that file, or leave backbone.pretrained_sha256 out"
        )
    path = Path(backbone.pretrained)
    return path, pretrained.read_weights(path)


def _replaced(network: Any) -> tuple[str, ...]:
    return tuple(network.replaced)


def check_libraries(config: Resolved, folder: Path) -> None:
    """Refuse to resume the run in `folder` under another version of the library of its backbone.

    Raises:
        UserError: with both versions.
    """
    name = config.backbone.name
    if libraries.versions(name) and list_checkpoints(folder / "checkpoints"):
        found = newest_intact(folder / "checkpoints", config.cell_id)
        if found is not None:
            begun = found[1]["run"].get("libraries", {})
            libraries.check_versions(begun, name, f"the unfinished run in {str(folder)!r}")
