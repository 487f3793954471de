"""Finds the classification run that a detector's backbone starts from. Nothing here imports torch.

The paper pre-trains each operator on ImageNet and starts its detectors from these weights (4.2). So every detector
starts from the run with the same backbone, operator, options and seed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightning_xvol.config import registry
from lightning_xvol.config.recipes import get_recipe
from lightning_xvol.config.resolved import ID_LENGTH, Resolved, canonical, resolve
from lightning_xvol.config.schema import RunConfig, from_record, set_value
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files, record

PROTOCOL = "imagenet_resnet50"
"""The recipe of the paper's pre-training."""
PRETRAINED = ("pretrained_sha256", "pretrained_kind", "pretrained_new")
"""The fields of a backbone that say where a classifier started from."""
CHANNELS = 3
"""Channels of the images that detectors take."""

log = logging.getLogger(__name__)


class ClassificationRun(NamedTuple):
    """A finished classification run that a detector can start from.

    `identity` is what it must share with the detector.
    """

    cell: str
    group: str
    config: Resolved
    identity: Any
    folder: Path


def with_origin(config: RunConfig, ledger: Path | None) -> Resolved:
    """`config`, resolved, with the origin of its weights: of a classifier, or of a detector's backbone.

    A detector's weights are those that `--backbone-from` finds in `ledger`, if it is given, else those that `config`
    names.

    Raises:
        UserError: as `resolve` and `backbone_from`, and for a file that cannot be read.
    """
    config = resolve(config)
    if ledger is not None:
        return backbone_from(config, ledger)
    chosen, backbone = config.detector, config.backbone
    if backbone.pretrained is not None and backbone.pretrained_sha256 is None:
        digest = file_sha256("backbone.pretrained", backbone.pretrained)
        config = dataclasses.replace(config, backbone=dataclasses.replace(backbone, pretrained_sha256=digest))
    if chosen.weights is not None and chosen.origin is None:
        digest = file_sha256("detector.weights", chosen.weights)[:ID_LENGTH]
        config = dataclasses.replace(config, detector=dataclasses.replace(chosen, origin=digest))
    return config


def file_sha256(field: str, path: str) -> str:
    """The SHA-256 of the file at `path`, which the `field` of a configuration names.

    Raises:
        UserError: for a file that cannot be read.
    """
    try:
        status = Path(path).stat()
        return _sha256(Path(path), status.st_size, status.st_mtime_ns)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UserError(f"cannot read {field}={path!r}: {getattr(error, 'strerror', None) or error}") from error


@functools.cache  # a sweep asks for every cell; size and time tell that the file is another one now
def _sha256(path: Path, size: int, changed: int) -> str:  # noqa: ARG001
    with files.open_bytes(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def backbone_from(config: RunConfig, ledger: Path) -> Resolved:
    """`config` with a detector that starts from the run in `ledger` with the same backbone, operator and seed.

    `position_size` may differ, because loading stretches its tables. If several runs fit, the same `position_size`
    decides, then the paper's protocol.

    Raises:
        UserError: if no such run on images of 3 channels exists, or if several are left.
    """
    if registry.lookup("data", config.data.name).task != "detection":
        raise UserError(f"--backbone-from starts detectors, and data {config.data.name!r} is not for detection")
    config = resolve(config)
    identity = _identity(config)
    found = [run for run in _runs(ledger) if run.identity == identity]
    if len(found) > 1:
        found = [run for run in found if run.config.operator == config.operator] or found
        # A fine-tuning leaves the checkpoint as it is.
        found = [run for run in found if not run.config.train.finetune_ablated] or found
    for form in _PAPERS_FORMS:
        if len(found) > 1:
            found = [run for run in found if run.group == _protocol_group(run.config, form)] or found
    if not found:
        raise UserError(
            f"--backbone-from {str(ledger)!r}: no finished classification run of {_what(config)} on images of "
            f"{CHANNELS} channels; train it there first, for example by {_command(config, ledger)}"
        )
    if len(found) > 1:
        cells = ", ".join(run.cell for run in found)
        raise UserError(
            f"--backbone-from {str(ledger)!r}: cells {cells} are all {_what(config)}; name a ledger with one of them"
        )
    [run] = found
    checkpoints = sorted((run.folder / "checkpoints").glob("step=*.ckpt"))
    if not checkpoints:
        raise UserError(f"--backbone-from: {str(run.folder)!r} has no checkpoint; train it again with --force")
    detector = dataclasses.replace(
        config.detector,
        pretraining="own",
        weights=str(checkpoints[-1]),
        origin=run.group,
        origin_optimisation=run.config.optimisation_id,
    )
    return dataclasses.replace(config, detector=detector)


def _what(config: RunConfig) -> str:
    """Describe the operator and the backbone, with the options of the backbone that are not its defaults."""
    operator, backbone = config.operator, config.backbone
    defaults = registry.lookup("backbone", backbone.name).options
    changed = {name: value for name, value in backbone.options.items() if value != defaults.get(name)}
    return (
        f"{operator.name} ({_listed(operator.options) or 'no options'}) in {backbone.name}"
        f"{f' ({_listed(changed)})' if changed else ''}, stages {backbone.stages}, seed {config.seed}"
    )


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _command(config: RunConfig, ledger: Path) -> str:
    """The command that trains the classifier that `config` needs."""
    papers, stages = resolve(get_recipe(PROTOCOL).config()).backbone, config.backbone.stages
    if dataclasses.replace(config.backbone, stages=papers.stages) == papers:
        placed = "" if stages == papers.stages else f" --set backbone.stages={','.join(map(str, stages))}"
        return f"python -m ablations.operator --recipe {PROTOCOL} --out {ledger}{placed}"
    return (
        f"python -m lightning_xvol fit --recipe cifar10_resnet18 --out {ledger} with --operator, --seed and --set for "
        "the options and the backbone named here"
    )


def check_weights(config: RunConfig) -> None:
    """Check that a detector names a file with weights exactly if its backbone is pretrained.

    Raises:
        UserError: if it does not.
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
    """`config` as `backbone_from` makes it from a ledger with the paper's own pre-training, but without a file.

    Of its forms (`_PAPERS_FORMS`) it is the one that `config` names as its origin, or today's.
    """
    if config.detector.pretraining != "own":
        return config
    origins = [resolve(papers_pretraining(config, form)) for form in _PAPERS_FORMS]
    origin = next((run for run in origins if run.group_id == config.detector.origin), origins[0])
    detector = dataclasses.replace(config.detector, origin=origin.group_id, origin_optimisation=origin.optimisation_id)
    return dataclasses.replace(config, detector=detector)


_PAPERS_FORMS = ("live_taps", "plain")
"""The weight gradients with which the paper's pre-training may have been computed: today's, and that of older runs."""


def papers_pretraining(config: RunConfig, weight_gradient: str = _PAPERS_FORMS[0]) -> RunConfig:
    """The paper's pre-training with the operator and the backbone of `config`."""
    papers = set_value(get_recipe(PROTOCOL).config(), "train.weight_gradient", weight_gradient)
    return dataclasses.replace(papers, operator=config.operator, backbone=config.backbone)


def _protocol_group(config: RunConfig, weight_gradient: str) -> str:
    return record.group_id(papers_pretraining(config, weight_gradient))


def _identity(config: RunConfig) -> Any:
    """Everything that a classifier must share with its detector."""
    values = canonical(config)
    values["operator"]["options"].pop("position_size", None)
    for name in PRETRAINED:  # where a classifier itself started from is no matter of the detector
        values["backbone"].pop(name, None)
    return values["operator"], values["backbone"], values["seed"]


@functools.cache  # a sweep asks for every cell
def _runs(ledger: Path) -> tuple[ClassificationRun, ...]:
    found = []
    for path in sorted(ledger.glob("cells/*/result.json")):
        if ".old-" in path.parent.name:
            continue
        try:
            result = record.read_result(path.parent)
            if result is None or result["status"] != "finished" or result["config"] is None:
                continue
            config = resolve(from_record(result["config"]))
            data = registry.lookup("data", config.data.name)
            if data.task == "classification" and data.channels in (CHANNELS, None):
                found.append(
                    ClassificationRun(result["cell_id"], result["group_id"], config, _identity(config), path.parent)
                )
        except UserError:  # of another version
            continue
        except OSError as error:
            log.warning("%s: not read, %s", path, error.strerror or error)
    return tuple(found)
