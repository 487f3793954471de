"""The configuration of one run: a frozen tree of plain values. Nothing here imports torch.

A *cell* is a `RunConfig` with its seed; a *group* is the same without the seed. Fields marked `volatile` change
neither weights nor metrics and stay out of the fingerprint (`lightning_xvol.ledger.record`); a field added later
declares its `neutral` value.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lightning_xvol.config import registry
from lightning_xvol.config.values import convert, literal, storable
from lightning_xvol.errors import UserError, nearest

Precision = Literal["32-true", "64-true", "bf16-true", "bf16-mixed", "16-mixed"]
MemoryFormat = Literal["contiguous", "channels_last"]


DEFAULT_PROJECT = "lightning-xvol"
"""The W&B project that runs are tracked in, unless another is named."""


@dataclass(frozen=True)
class OperatorConfig:
    """Which operator stands in the chosen stages. `options` are those of the registry entry."""

    name: str = "convolution"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BackboneConfig:
    """The network around the operator. stage2..stage5 are conv2_x..conv5_x, torchvision's layer1..layer4.

    `stride_in_1x1` puts a bottleneck's stride into its first 1x1, as the paper's stride-1 operator needs (6.1.2).
    `places` is where the operator stands: in the one 3x3 of each block of these stages that the paper replaces (Fig.
    2), or, with all stages, in every spatial convolution of the network, the stem and strided ones among them.
    """

    name: str = "small_resnet"
    stages: tuple[int, ...] = (3, 4, 5)
    stride_in_1x1: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    places: Literal["block", "every"] = field(default="block", metadata={"legacy_value": "block"})


@dataclass(frozen=True)
class DetectorConfig:
    """What stands on the backbone where the data set is for detection; no part of any other run.

    `settings` is a name of `lightning_xvol.config.detectors`. `pretraining` says whose weights the backbone starts
    from, which decides what is frozen: nobody's, torchvision's, or those of a classification run of ours with the same
    operator. `weights` is the file, and `origin` tells the weights apart, whatever the file is called: the group of
    that run, or the beginning of the file's SHA-256. `origin_optimisation` is the `optimisation_id` of that run.
    """

    settings: str = field(default="detectron2", metadata={"legacy_value": "detectron2"})
    pretraining: Literal["random", "torchvision", "own"] = field(default="random", metadata={"legacy_value": "random"})
    weights: str | None = field(default=None, metadata={"outside_identity": True})
    origin: str | None = field(default=None, metadata={"legacy_value": None})
    origin_optimisation: str | None = field(default=None, metadata={"outside_identity": True})


@dataclass(frozen=True)
class DataConfig:
    """The data set and the size of a batch, counted over all processes and accumulated steps.

    `limit` keeps the first images of every split (spread over the classes where these lie in folders).
    `workers` is the number of loader processes.
    """

    name: str = "match"
    batch_size: int = 64
    limit: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    workers: int = field(default=0, metadata={"outside_identity": True})


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer and its learning rate, which follows the fraction t of the budget that is done.

    `optimizer` is SGD with `momentum`, or AdamW, which has none. `decay_norms` says whether `weight_decay` is for the
    scales and shifts of norms too, and `clip` is the largest norm of a gradient, all parameters taken together.

    The learning rate rises linearly over the first `warmup`, then falls as half a cosine to zero (`cosine`) or is
    multiplied by `gamma` at each of `milestones` (`multistep`). `warmup` and `milestones` are fractions of the budget.
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
    """The budget (`epochs`, or `steps` of the optimizer where given) and how it is computed.

    `devices` is the number of processes, one per device; `threads` the CPU threads of each, fixed because the
    number of threads changes the weights. `checkpoint_every` counts optimizer steps.
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


@dataclass(frozen=True)
class RunConfig:
    """One run, whole. Two configurations are equal where all their values are, whether they are resolved or not."""

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


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Plain dicts, lists and scalars, as YAML and JSON hold them."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(item) for item in value]
        return value

    return plain(dataclasses.asdict(config))


def flat(values: Mapping[str, Any], separator: str = "_") -> dict[str, Any]:
    """The sections of what `to_dict` gives in one level of keys, such as `optim_lr`, options without their own level.

    W&B can filter and group by those: its dashboards write nested ones in two ways.
    """
    found: dict[str, Any] = {}
    for section, fields in values.items():
        if isinstance(fields, Mapping):
            named = {**fields, **fields.get("options", {})}
            found |= {f"{section}{separator}{key}": value for key, value in named.items() if key != "options"}
    return found


def from_dict(values: Mapping[str, Any], base: RunConfig | None = None) -> RunConfig:
    """`base` (or the defaults) with the nested `values` put in, each checked as `set_value` does."""
    config = base if base is not None else RunConfig()
    for path, value in leaves(values):
        config = set_value(config, path, value)
    return config


_ORDER = {"name": 0, "origin": 2, "origin_optimisation": 3}


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every dotted path of `values` with its value, in an order in which `set_value` can set them.

    A name comes before its options, which are checked against it, and what is known of weights after the weights.
    An option that is itself a mapping is one value.
    """
    for key, value in sorted(values.items(), key=lambda item: _ORDER.get(item[0], 1)):
        if isinstance(value, Mapping) and not prefix.endswith(".options."):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


# Other weights have another origin, which is not known yet.
_FORGETS = {
    "weights": ("origin", "origin_optimisation"),
    "pretraining": ("origin", "origin_optimisation"),
    "origin": ("origin_optimisation",),
}


@functools.cache  # a sweep sets thousands of fields
def _hints(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


def set_value(config: RunConfig, path: str, value: Any) -> RunConfig:
    """`config` with the field at the dotted `path` replaced, for example `optim.lr` or `operator.options.num_heads`.

    A string is read as a Python literal where it is one (`--set optim.lr=1e-2`).
    `operator.num_heads` is short for `operator.options.num_heads`. Values are checked together only when the result is
    resolved, so that fields that depend on each other can be set one after the other.

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
    if rest in hints and rest != "options":
        changes: dict[str, Any] = {rest: convert(hints[rest], value, path)}
        if rest == "name" and changes["name"] != section.name:
            # Options belong to the name they were given for: those that the new one does not know would be refused.
            entry = registry.lookup(root, changes["name"])
            changes["options"] = {key: item for key, item in section.options.items() if key in entry.options}
        if root == "detector" and rest in _FORGETS and changes[rest] != getattr(section, rest):
            changes |= dict.fromkeys(_FORGETS[rest])
        return RunConfig(**sections | {root: dataclasses.replace(section, **changes)})
    option = rest.removeprefix("options.")
    fields = [name for name in hints if name != "options"]
    if "options" not in hints or not option or "." in option:
        raise UserError(f"no field {path!r}{nearest(rest, fields)}; {root} has: {', '.join(fields)}")
    options = {**section.options, option: _option_value(root, section.name, fields, option, value, path)}
    return RunConfig(**sections | {root: dataclasses.replace(section, options=options)})


def _option_value(kind: str, name: str, fields: list[str], option: str, value: Any, path: str) -> Any:
    entry = registry.lookup(kind, name)
    if name not in registry.KINDS[kind]:
        return storable(literal(value), path)
    if option not in entry.options:
        known = [*entry.options, *fields]
        raise UserError(f"{kind} {name!r} has no field {path!r}{nearest(option, known)}; it has: {', '.join(known)}")
    default = entry.options[option]
    if default is None:
        return storable(literal(value), path)
    hint: Any = types.GenericAlias(tuple, (type(default[0]), ...)) if isinstance(default, tuple) else type(default)
    return None if literal(value) is None else convert(hint, value, path)
