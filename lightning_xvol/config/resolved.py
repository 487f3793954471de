"""A configuration in which nothing is left open, and the ids that follow from it. Nothing here imports torch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lightning_xvol.config import registry
from lightning_xvol.config.detectors import get_preset
from lightning_xvol.config.fast import has_float32_products
from lightning_xvol.config.fine_tuning import is_fine_tuned
from lightning_xvol.config.schema import (
    BackboneConfig,
    DetectorConfig,
    RunConfig,
    leaves,
    nested,
    set_value,
    stored_key,
    to_dict,
)
from lightning_xvol.config.weight_gradient import has_live_taps
from lightning_xvol.errors import UserError

SCHEMA = 1
ID_LENGTH = 12
COMPUTE = ("devices", "accumulate", "threads", "memory_format", "compile", "weight_gradient", "finetune_ablated")
"""The fields of `train` that say how an optimisation is computed or what follows it, but not what is optimised."""


_EFFECTS = {
    "weight_gradient": has_live_taps, "pssa_products": has_float32_products, "finetune_ablated": is_fine_tuned
}  # fmt: skip
"""Fields of `train` that are in an id only where they change what is computed."""


def in_one_form(config: RunConfig) -> RunConfig:
    """`config` with the fields whose order means nothing in ascending order.

    `backbone.stages` is a set, so repeats go. `optim.milestones` keeps repeats: each of them lowers the learning rate.
    Other lists are sequences: their order, or how often a value occurs in them, decides what a run computes.
    """
    return dataclasses.replace(
        config,
        backbone=dataclasses.replace(config.backbone, stages=tuple(sorted(set(config.backbone.stages)))),
        optim=dataclasses.replace(config.optim, milestones=tuple(sorted(config.optim.milestones))),
    )


@dataclass(frozen=True, eq=False)
class Resolved(RunConfig):
    """A `RunConfig` with every option of operator, backbone and data spelled out, and every value checked.

    Making one resolves and checks it, so every `Resolved` is valid, also the result of `dataclasses.replace`.
    `set_value` returns a plain `RunConfig` again. Ids are computed once, on first use.

    Attributes:
        cell_id: identifies the run: the beginning of the fingerprint of its configuration with the seed.
        group_id: identifies the runs that differ in their seed alone.
        optimisation_id: identifies the groups that optimise the same, on any machine (`optimisation`).

    Raises:
        UserError: for a name or an option that does not exist, or a value out of range.
    """

    def __post_init__(self) -> None:
        config = RunConfig(**sections(self))
        parts: dict[str, Any] = {}
        for kind in registry.KINDS:
            part = getattr(config, kind)
            parts[kind] = dataclasses.replace(part, options=registry.resolve_options(kind, part.name, part.options))
        config = dataclasses.replace(config, **parts)
        # Values set in Python get the types that a file or a flag gives them: 1 and 1.0 are one learning rate.
        for path, value in leaves(nested(config)):
            if not (isinstance(value, str) and ".options." in path):
                config = set_value(config, path, value)
        _check(in_one_form(config))
        config = self._form(config)
        for name, section in vars(config).items():
            object.__setattr__(self, name, section)

    @staticmethod
    def _form(config: RunConfig) -> RunConfig:
        return in_one_form(config)

    @cached_property
    def cell_id(self) -> str:
        return fingerprint(canonical(self))[:ID_LENGTH]

    @cached_property
    def group_id(self) -> str:
        values = canonical(self)
        del values["seed"]
        return fingerprint(values)[:ID_LENGTH]

    @cached_property
    def optimisation_id(self) -> str:
        return fingerprint(optimisation(self))[:ID_LENGTH]


class AsWritten(Resolved):
    """A configuration whose lists stay in the order in which an older run wrote them, with the ids of that run.

    It computes what the one form computes. `optimisation_id` is that of the one form.
    """

    @staticmethod
    def _form(config: RunConfig) -> RunConfig:
        return config


def resolve(config: RunConfig) -> Resolved:
    """`config` as a `Resolved`; one that is resolved already is returned as it is.

    Raises:
        UserError: as `Resolved`.
    """
    return config if isinstance(config, Resolved) else Resolved(**sections(config))


def one_form(config: RunConfig) -> Resolved:
    """`config`, resolved, with its lists `in_one_form` even if it is `AsWritten`."""
    return Resolved(**sections(config)) if isinstance(config, AsWritten) else resolve(config)


def sections(config: RunConfig) -> dict[str, Any]:
    """The fields of `config`, without the ids that a `Resolved` has computed."""
    return {item.name: getattr(config, item.name) for item in dataclasses.fields(RunConfig)}


def canonical(config: RunConfig) -> dict[str, Any]:
    """The part of the resolved configuration that decides its identity.

    It lacks the fields that are marked `outside_identity`, and every field and option that has its legacy value. It has
    the fields of `train` in `_EFFECTS` only where they change what is computed.
    """
    config = resolve(config)
    values = to_dict(config)
    for section_field in dataclasses.fields(RunConfig):
        section = getattr(config, section_field.name)
        if not dataclasses.is_dataclass(section):
            continue
        for item in dataclasses.fields(section):
            legacy_value = item.metadata.get("legacy_value", dataclasses.MISSING)
            if item.metadata.get("outside_identity") or getattr(section, item.name) == legacy_value:
                del values[section_field.name][stored_key(item)]
        if section_field.name == "train":
            for name, has_effect in _EFFECTS.items():
                if not has_effect(config):
                    values["train"].pop(name, None)
        if not values[section_field.name]:  # older runs do not have this section
            del values[section_field.name]
    for kind in registry.KINDS:
        part = getattr(config, kind)
        for option, legacy_value in registry.lookup(kind, part.name).legacy_values.items():
            if part.options.get(option) == legacy_value:
                del values[kind]["options"][option]
    return values


def optimisation(config: RunConfig) -> dict[str, Any]:
    """The canonical configuration without the seed and `COMPUTE`: equal for two runs of one optimisation.

    Such runs have the same operator, network, detector, data, batch size, optimizer, budget and precision. They may
    differ in the processes, accumulated steps and threads that share a batch, in the memory format and in compilation.
    These change ids and weights. They may also differ in a fine-tuning that follows. Detectors may start from different
    classification runs of one optimisation.
    """
    values = canonical(one_form(config))
    del values["seed"]
    values["train"] = {name: value for name, value in values["train"].items() if name not in COMPUTE}
    if config.detector.origin_optimisation is not None:
        values["detector"]["origin"] = config.detector.origin_optimisation
    return values


def fingerprint(values: Mapping[str, Any]) -> str:
    """SHA-256 of `values` and the schema as canonical JSON: sorted keys, no blanks, shortest floats."""
    text = json.dumps({"schema": SCHEMA, **values}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _check(config: RunConfig) -> None:
    at_least_one: dict[str, int | None] = {
        "data.batch_size": config.data.batch_size,
        "data.limit": config.data.limit,
        "train.epochs": config.train.epochs,
        "train.steps": config.train.steps,
        "train.devices": config.train.devices,
        "train.accumulate": config.train.accumulate,
        "train.threads": config.train.threads,
        "train.checkpoint_every": config.train.checkpoint_every,
    }
    for path, count in at_least_one.items():
        if count is not None and count < 1:
            raise UserError(f"{path}={count} must be at least 1")
    not_negative: dict[str, float] = {
        "data.workers": config.data.workers,
        "seed": config.seed,
        "optim.lr": config.optim.lr,
        "optim.momentum": config.optim.momentum,
        "optim.weight_decay": config.optim.weight_decay,
        "optim.gamma": config.optim.gamma,
    }
    for path, value in not_negative.items():
        if value < 0:
            raise UserError(f"{path}={value} must not be negative")
    if config.optim.clip is not None and config.optim.clip <= 0:
        raise UserError(f"optim.clip={config.optim.clip} must be above 0, or none for no clipping")
    get_preset(config.detector.preset)
    task = registry.lookup("data", config.data.name).task
    if task != "detection" and config.detector != DetectorConfig():
        raise UserError(f"detector.* is for detection, and data {config.data.name!r} is for {task}")
    if task == "detection" and config.train.precision in ("bf16-true", "64-true"):
        raise UserError(
            f"train.precision={config.train.precision} is not for detectors, whose boxes are float32 (bfloat16 would "
            "round them by several pixels); they take bf16-mixed or 32-true"
        )
    _check_pretrained(config.backbone, task)
    if not 0 <= config.train.finetune_ablated <= 1:
        raise UserError(
            f"train.finetune_ablated={config.train.finetune_ablated} must be a share of the budget, from 0 to 1"
        )
    fractions = {"optim.warmup": (config.optim.warmup,), "optim.milestones": config.optim.milestones}
    for path, values in fractions.items():
        if any(not 0 <= value < 1 for value in values):
            raise UserError(f"{path}={values} must be fractions of the budget, from 0 to below 1")
    if not config.backbone.stages or not set(config.backbone.stages) <= {2, 3, 4, 5}:
        raise UserError(f"backbone.stages={config.backbone.stages} must be chosen from 2, 3, 4, 5")
    if config.backbone.places == "every" and config.backbone.stages != (2, 3, 4, 5):
        raise UserError(
            f"backbone.places=every needs all stages: set backbone.stages=2,3,4,5, not {config.backbone.stages}"
        )
    parts = config.train.devices * config.train.accumulate
    if config.data.batch_size % parts:
        raise UserError(
            f"data.batch_size={config.data.batch_size} must be a multiple of train.devices x train.accumulate = {parts}"
        )


def _check_pretrained(backbone: BackboneConfig, task: str) -> None:
    digits = backbone.pretrained_sha256
    if digits is not None and not re.fullmatch("[0-9a-f]{64}", digits):
        raise UserError(f"backbone.pretrained_sha256={digits} must be 64 hexadecimal digits, as sha256sum prints them")
    if backbone.is_pretrained and task == "detection":
        raise UserError(
            "backbone.pretrained is for classifiers; a detector takes its weights by --backbone-from LEDGER, or by "
            "detector.pretraining and detector.weights=FILE"
        )
    if not backbone.is_pretrained and (backbone.pretrained_new or backbone.pretrained_kind != "library"):
        raise UserError("backbone.pretrained_new and backbone.pretrained_kind go with backbone.pretrained=FILE")
