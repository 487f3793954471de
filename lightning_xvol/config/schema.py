"""The configuration of one run: a frozen tree of plain values. Nothing here imports torch.

A *cell* is a `RunConfig` with its seed; a *group* is the same without the seed. A field marked `outside_identity`
changes neither weights nor metrics and is left out of the fingerprint (`lightning_xvol.config.resolved`). A field that
was added after runs had been made declares its `legacy_value`, the value under which they were made.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lightning_xvol.config import registry
from lightning_xvol.config.imports import FromFile, marked, texts
from lightning_xvol.config.values import convert, literal, storable
from lightning_xvol.errors import UserError, nearest

Precision = Literal["32-true", "64-true", "bf16-true", "bf16-mixed", "16-mixed"]
MemoryFormat = Literal["contiguous", "channels_last"]
WeightGradient = Literal["plain", "live_taps", "live_taps_bfloat16"]


DEFAULT_PROJECT = "lightning-xvol"
"""The W&B project of all runs, unless the user names another."""


@dataclass(frozen=True)
class OperatorConfig:
    """The operator in the chosen stages, with the `options` that the registry lists for it."""

    name: str = "convolution"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BackboneConfig:
    """The network around the operator.

    Attributes:
        name: a registered backbone, a network of a library (`timm:resnet50`), or an import path.
        stages: the stages with the operator; 2 to 5 are conv2_x to conv5_x, torchvision's layer1 to layer4.
        stride_in_1x1: whether the first 1x1 of a bottleneck has the stride; the paper's operator has stride 1 (6.1.2).
        options: the options that the registry lists for the backbone.
        places: `block` puts the operator where the paper does, in one 3x3 of each block (Fig. 2); `every` replaces
            every spatial convolution, also the stem and strided ones, and needs all stages.
        pretrained: a file with the weights that a classifier starts from (`lightning_xvol.backbones.pretrained`).
        pretrained_sha256: of that file, in hexadecimal digits.
        pretrained_kind: `library` for weights of torchvision or timm, which stride in the 3x3 of a bottleneck; `own`
            for a checkpoint of ours, which strides where `stride_in_1x1` says.
        pretrained_new: modules that the file has no weights for, such as the classifier `fc`.
    """

    name: str = "small_resnet"
    stages: tuple[int, ...] = (3, 4, 5)
    stride_in_1x1: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    places: Literal["block", "every"] = field(default="block", metadata={"legacy_value": "block"})
    pretrained: str | None = field(default=None, metadata={"outside_identity": True})
    pretrained_sha256: str | None = field(default=None, metadata={"legacy_value": None})
    pretrained_kind: Literal["library", "own"] = field(default="library", metadata={"legacy_value": "library"})
    pretrained_new: tuple[str, ...] = field(default=(), metadata={"legacy_value": ()})

    @property
    def is_pretrained(self) -> bool:
        """Whether it starts from weights of a file."""
        return self.pretrained is not None or self.pretrained_sha256 is not None


@dataclass(frozen=True)
class DetectorConfig:
    """The detector on the backbone, if the data set is for detection; other runs have none.

    Attributes:
        preset: a name of `lightning_xvol.config.detectors`. Records and ids keep the field's first name, `settings`.
        pretraining: where the weights of the backbone come from, which decides what is frozen: `random`,
            `torchvision`, or `own` for a classification run of ours with the same operator.
        weights: the file with these weights.
        origin: identifies the weights, whatever the file is called: the group of that run, or the beginning of the
            SHA-256 of the file.
        origin_optimisation: the `optimisation_id` of that run.
        keep_detections: whether the run leaves the detections of its last evaluation in files.
    """

    preset: str = field(default="detectron2", metadata={"legacy_value": "detectron2", "stored_as": "settings"})
    pretraining: Literal["random", "torchvision", "own"] = field(default="random", metadata={"legacy_value": "random"})
    weights: str | None = field(default=None, metadata={"outside_identity": True})
    origin: str | None = field(default=None, metadata={"legacy_value": None})
    origin_optimisation: str | None = field(default=None, metadata={"outside_identity": True})
    keep_detections: bool = field(default=False, metadata={"outside_identity": True})


@dataclass(frozen=True)
class DataConfig:
    """The data set and its batches.

    Attributes:
        name: a registered data set or an import path.
        batch_size: images per optimizer step, over all processes and accumulated steps.
        limit: how many images of every split to keep: the first ones, or as many of each class if classes are folders.
        options: the options that the registry lists for the data set.
        workers: number of loader processes.
    """

    name: str = "match"
    batch_size: int = 64
    limit: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    workers: int = field(default=0, metadata={"outside_identity": True})


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer and the schedule of its learning rate.

    The learning rate first rises linearly. Then it falls as half a cosine to zero (`cosine`) or is multiplied by
    `gamma` at each milestone (`multistep`).

    Attributes:
        lr: the largest learning rate.
        momentum: of SGD; AdamW has none.
        weight_decay: of every parameter that `decay_norms` does not exclude.
        schedule: `cosine` or `multistep`.
        warmup: the fraction of the budget over which the learning rate rises.
        milestones: the fractions of the budget at which `multistep` lowers the learning rate.
        gamma: the factor at each milestone.
        optimizer: `sgd` or `adamw`.
        decay_norms: whether `weight_decay` also applies to the scales and shifts of norms.
        clip: the largest norm of the gradient of all parameters together; None for no limit.
    """

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["cosine", "multistep"] = "cosine"
    warmup: float = 0.1
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    optimizer: Literal["sgd", "adamw"] = field(default="sgd", metadata={"legacy_value": "sgd"})
    decay_norms: bool = field(default=True, metadata={"legacy_value": True})
    clip: float | None = field(default=None, metadata={"legacy_value": None})


@dataclass(frozen=True)
class TrainConfig:
    """The budget of a run and how it is computed.

    Attributes:
        epochs: the budget in epochs, if `steps` is not given.
        steps: the budget in optimizer steps.
        precision: Lightning's precision.
        memory_format: the memory layout of images and weights.
        compile: whether the network is compiled.
        devices: number of processes, one per device.
        accumulate: number of passes whose gradients make one optimizer step.
        threads: CPU threads of each process; fixed, because the number of threads changes the weights.
        checkpoint_every: optimizer steps from one checkpoint to the next.
        weight_gradient: `live_taps` computes the weight gradient of convolutions tap by tap where that is faster on a
            CPU (`lightning_xvol.config.weight_gradient`), in float32 and float64. `live_taps_bfloat16` does so only
            under `bf16-mixed`. This changes the last digits. `plain` leaves all of them to PyTorch. In a run without a
            gradient that is computed tap by tap, all values are the same run.
        pssa_products: the precision of PSSA between its projections and its batch norm, under `bf16-mixed`: `float32`,
            which is faster on a CPU, or that of the projections.
        finetune_ablated: the share of the budget, from 0 to 1, for which a copy of the final network is trained further
            without the product of PSSA (`lightning_xvol.training.fine_tuning`); 0 for no such training. In a run
            without a product, all values are the same run.
    """

    epochs: int = 3
    steps: int | None = None
    precision: Precision = "32-true"
    memory_format: MemoryFormat = "contiguous"
    compile: bool = False
    devices: int = 1
    accumulate: int = 1
    threads: int = 1
    checkpoint_every: int = field(default=50, metadata={"outside_identity": True})
    weight_gradient: WeightGradient = field(default="live_taps", metadata={"legacy_value": "plain"})
    pssa_products: Literal["projections", "float32"] = field(
        default="projections", metadata={"legacy_value": "projections"}
    )
    finetune_ablated: float = field(default=0.0, metadata={"legacy_value": 0.0})


@dataclass(frozen=True)
class RunConfig:
    """The whole configuration of one run.

    Two configurations are equal if all their values are, even if only one of them is resolved.
    """

    operator: OperatorConfig = field(default_factory=OperatorConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunConfig):
            return NotImplemented
        return all(getattr(self, item.name) == getattr(other, item.name) for item in dataclasses.fields(RunConfig))


def stored_key(item: dataclasses.Field[Any]) -> str:
    """The name of a field in records, and so in ids."""
    return item.metadata.get("stored_as", item.name)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Plain dicts, lists and scalars, as YAML and JSON hold them."""
    values: dict[str, Any] = nested(config, lambda leaf: str(leaf) if isinstance(leaf, FromFile) else leaf)
    return values


def nested(value: Any, leaf: Callable[[Any], Any] = lambda value: value) -> Any:
    """The tree of `value` in dicts and lists, with `leaf` of each of its leaves."""
    if dataclasses.is_dataclass(value):
        return {stored_key(item): nested(getattr(value, item.name), leaf) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {leaf(key): nested(item, leaf) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [nested(item, leaf) for item in value]
    return leaf(value)


def flat(values: Mapping[str, Any], separator: str = "_") -> dict[str, Any]:
    """The sections of a configuration from `to_dict` in one level of keys, such as `optim_lr` and `operator_form`.

    W&B can filter and group by such keys; its dashboards write nested keys in two different ways.
    """
    found: dict[str, Any] = {}
    for section, fields in values.items():
        if isinstance(fields, Mapping):
            named = {**fields, **fields.get("options", {})}
            found |= {f"{section}{separator}{key}": value for key, value in named.items() if key != "options"}
    return found


def from_dict(
    values: Mapping[str, Any], base: RunConfig | None = None, *, source: str = "the configuration", trust: bool = False
) -> RunConfig:
    """`base` (by default `RunConfig()`) with the nested `values` set and checked one by one, as by `set_value`.

    Args:
        source: where `values` come from, for messages.
        trust: whether the import paths in `values` may be imported. Without it the result has every id and every
            label, but `lightning_xvol.config.imports` refuses to build it; paths that `base` has too are free.
    """
    start = base if base is not None else RunConfig()
    config = start
    for path, value in leaves(values):
        config = set_value(config, path, value)
    if trust:
        return config
    free = set(texts(start))
    safe = {kind: {name} for kind in registry.KINDS if registry.is_known(kind, name := getattr(config, kind).name)}
    return dataclasses.replace(
        config, **{kind: marked(getattr(config, kind), source, free | safe.get(kind, set())) for kind in registry.KINDS}
    )


def from_record(values: Mapping[str, Any], *, source: str = "the record", trust: bool = False) -> RunConfig:
    """The configuration that a run has written, as by `from_dict`.

    A field or an option that is newer than the run has its legacy value.
    """
    config = from_dict(values, _legacy(), source=source, trust=trust)
    parts = {kind: getattr(config, kind) for kind in registry.KINDS}
    options = {kind: {**registry.lookup(kind, part.name).legacy_values, **part.options} for kind, part in parts.items()}
    return dataclasses.replace(
        config, **{kind: dataclasses.replace(part, options=options[kind]) for kind, part in parts.items()}
    )


@functools.cache
def _legacy() -> RunConfig:
    """The defaults, with the legacy value of each field that has one."""
    base = RunConfig()
    for section in dataclasses.fields(RunConfig):
        part: Any = getattr(base, section.name)
        for item in dataclasses.fields(part) if dataclasses.is_dataclass(part) else ():
            if "legacy_value" in item.metadata:
                base = set_value(base, f"{section.name}.{item.name}", item.metadata["legacy_value"])
    return base


_ORDER = {"name": 0, "origin": 2, "origin_optimisation": 3, "pretrained_sha256": 2}


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted path of `values` with its value, in an order in which `set_value` can set them.

    A name comes before its options, which are checked against it, and facts about weights come after the weights. An
    option that is itself a mapping is one value.
    """
    for key, value in sorted(values.items(), key=lambda item: _ORDER.get(item[0], 1)):
        if isinstance(value, Mapping) and not prefix.endswith(".options."):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# When the weights change, the facts about the old weights are no longer true.
_FORGETS = {
    "detector.weights": ("origin", "origin_optimisation"),
    "detector.pretraining": ("origin", "origin_optimisation"),
    "detector.origin": ("origin_optimisation",),
    "backbone.pretrained": ("pretrained_sha256",),
}


@functools.cache  # a sweep sets thousands of fields
def _hints(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


def set_value(config: RunConfig, path: str, value: Any) -> RunConfig:
    """`config` with the field at the dotted `path` replaced, for example `optim.lr` or `operator.options.num_heads`.

    A text that is a Python literal becomes its value (`--set optim.lr=1e-2`). `operator.num_heads` is short for
    `operator.options.num_heads`. Only `resolve` checks how values fit together, so fields that depend on each other can
    be set one after the other.

    Raises:
        UserError: for a path that does not exist (with the nearest one) or a value of the wrong type.
    """
    root, _, rest = path.partition(".")
    sections = {item.name: getattr(config, item.name) for item in dataclasses.fields(RunConfig)}
    if root not in sections:
        raise UserError(f"no field {path!r}{nearest(root, sections)}; fields: {', '.join(sorted(sections))}")
    if root == "seed":
        if rest:
            raise UserError(f"no field {path!r}: {root!r} has no parts")
        return RunConfig(**sections | {"seed": convert(int, value, path)})
    section: Any = sections[root]
    hints = _hints(section.__class__)
    rest = {stored_key(item): item.name for item in dataclasses.fields(section)}.get(rest, rest)
    if rest in hints and rest != "options":
        changes: dict[str, Any] = {rest: convert(hints[rest], value, path)}
        if rest == "name" and changes["name"] != section.name:
            # Drop the options that the new name does not have. They were given for the old name and would be refused.
            entry = registry.lookup(root, changes["name"])
            changes["options"] = {key: item for key, item in section.options.items() if key in entry.options}
        if f"{root}.{rest}" in _FORGETS and changes[rest] != getattr(section, rest):
            changes |= dict.fromkeys(_FORGETS[f"{root}.{rest}"])
        return RunConfig(**sections | {root: dataclasses.replace(section, **changes)})
    option = rest.removeprefix("options.")
    fields = [name for name in hints if name != "options"]
    if "options" not in hints or not option or "." in option:
        raise UserError(f"no field {path!r}{nearest(rest, fields)}; {root} has: {', '.join(fields)}")
    options = {**section.options, option: _option_value(root, section.name, fields, option, value, path)}
    return RunConfig(**sections | {root: dataclasses.replace(section, options=options)})


def _option_value(kind: str, name: str, fields: list[str], option: str, value: Any, path: str) -> Any:
    entry = registry.lookup(kind, name)
    if not registry.is_known(kind, name):
        return storable(literal(value), path)
    if option not in entry.options:
        known = [*entry.options, *fields]
        raise UserError(f"{kind} {name!r} has no field {path!r}{nearest(option, known)}; it has: {', '.join(known)}")
    default = entry.options[option]
    if default is None:
        return storable(literal(value), path)
    hint: Any = types.GenericAlias(tuple, (type(default[0]), ...)) if isinstance(default, tuple) else type(default)
    return None if literal(value) is None else convert(hint, value, path)
