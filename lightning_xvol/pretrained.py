"""Where a detector's backbone comes from: the classification runs of a ledger. Nothing here imports torch.

The paper pre-trains each operator on ImageNet and starts its detectors there (4.2), so every cell starts from the run
that has its own backbone, operator, options and seed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from lightning_xvol import record, registry
from lightning_xvol.config import RunConfig, from_dict, resolve
from lightning_xvol.errors import UserError
from lightning_xvol.recipes import get_recipe

PROTOCOL = "imagenet_resnet50"
"""The recipe that the paper pre-trains by."""


class Run(NamedTuple):
    """A finished classification run."""

    cell: str
    group: str
    identity: Any
    folder: Path


def with_origin(config: RunConfig, ledger: Path | None) -> RunConfig:
    """`config` with the weights that `--backbone-from` finds for it, else with the origin of those that it names.

    Raises:
        UserError: as `backbone_from`, and for a file that cannot be read.
    """
    if ledger is not None:
        return backbone_from(config, ledger)
    chosen = config.detector
    if chosen.weights is None or chosen.origin is not None:
        return config
    return dataclasses.replace(config, detector=dataclasses.replace(chosen, origin=_digest(Path(chosen.weights))))


@functools.cache
def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[: record.ID_LENGTH]
    except OSError as error:
        raise UserError(f"cannot read detector.weights={str(path)!r}: {error.strerror}") from error


def backbone_from(config: RunConfig, ledger: Path) -> RunConfig:
    """`config`, whose detector starts from the classification run in `ledger` that has its backbone, operator and seed.

    Raises:
        UserError: where there is no such run, or more than one.
    """
    if registry.lookup("data", config.data.name).task != "detection":
        raise UserError(f"--backbone-from starts detectors, and data {config.data.name!r} is for no detection")
    identity = _identity(config)
    found = [run for run in _runs(ledger) if run.identity == identity]
    options = ", ".join(f"{name}={value}" for name, value in config.operator.options.items())
    what = (
        f"{config.operator.name} ({options or 'no options'}) in {config.backbone.name}, "
        f"stages {config.backbone.stages}, seed {config.seed}"
    )
    if not found:
        raise UserError(
            f"--backbone-from {str(ledger)!r}: no finished classification run of {what}; train it there "
            f"first, for example by python -m ablations.operator --recipe {PROTOCOL} --out {ledger}"
        )
    if len(found) > 1:
        cells = ", ".join(run.cell for run in found)
        raise UserError(
            f"--backbone-from {str(ledger)!r}: cells {cells} are all {what}; name a ledger with one of them"
        )
    [run] = found
    checkpoints = sorted((run.folder / "checkpoints").glob("step=*.ckpt"))
    if not checkpoints:
        raise UserError(f"--backbone-from: {str(run.folder)!r} has no checkpoint; train it anew with --force")
    detector = dataclasses.replace(config.detector, pretraining="own", weights=str(checkpoints[-1]), origin=run.group)
    return resolve(dataclasses.replace(config, detector=detector))


def check_weights(config: RunConfig) -> None:
    """
    Raises:
        UserError: where the backbone of a detector is to be pretrained and no file is named, or the reverse.
    """
    chosen = config.detector
    if chosen.pretraining == "random" and chosen.weights is not None:
        raise UserError(
            f"detector.weights={chosen.weights} goes with detector.pretraining=torchvision or own, not random"
        )
    if chosen.pretraining != "random" and chosen.weights is None:
        raise UserError(
            f"detector.pretraining={chosen.pretraining} needs weights: --backbone-from LEDGER for those of our own "
            "classification runs, --set detector.weights=FILE for a file, or detector.pretraining=random to do without"
        )


def with_papers_origin(config: RunConfig) -> RunConfig:
    """`config` as `backbone_from` makes it where the ledger holds the paper's own pre-training; without a file."""
    if config.detector.pretraining != "own":
        return config
    classifier = dataclasses.replace(get_recipe(PROTOCOL).config(), operator=config.operator, backbone=config.backbone)
    detector = dataclasses.replace(config.detector, origin=record.group_id(classifier))
    return dataclasses.replace(config, detector=detector)


def _identity(config: RunConfig) -> Any:
    values = record.canonical(config)
    return values["operator"], values["backbone"], values["seed"]


@functools.cache  # a sweep asks for every cell
def _runs(ledger: Path) -> tuple[Run, ...]:
    found = []
    for path in sorted(ledger.glob("cells/*/result.json")):
        result = record.read_result(path.parent)
        if result is None or result["status"] != "finished" or ".old-" in path.parent.name:
            continue
        try:
            config = from_dict(result["config"])
            if registry.lookup("data", config.data.name).task == "classification":
                found.append(Run(result["cell_id"], result["group_id"], _identity(config), path.parent))
        except UserError:  # of another version
            continue
    return tuple(found)
