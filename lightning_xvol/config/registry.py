"""Operators, backbones and data sets by name. Nothing here imports torch.

One line registers an operator. A name that holds a colon is an import path, `package.module:Class`, and works
wherever a registered name does. Backbones may also be networks of a library (`lightning_xvol.config.libraries`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_xvol.config import libraries
from lightning_xvol.config.imports import import_class
from lightning_xvol.config.pssa_options import PSSAOptions, check_names
from lightning_xvol.errors import UserError, nearest


@dataclass(frozen=True)
class Registered:
    """An operator, a backbone or a data set that can be chosen by name.

    Attributes:
        path: its class or function, as `package.module:Class`.
        label: its name in tables and figures.
        options: its options with their defaults.
        legacy_values: for each option that was added after runs were made, the value that those runs had. At this value
            the option is left out of the fingerprint, so old results stay valid.
        task: for a data set, what is learned from it (`lightning_xvol.training.tasks`, `task` below). A data set named
            by an import path is for classification.
        channels: for a data set, the channels of its images, where they are known without importing it.
        generator: for a data set that is computed, the version of its generator. It goes up with every change to what
            the generator makes.
        facts: for a data set of files, what the real one holds, by the keys of `lightning_xvol.ledger.contents`.
        images: for a data set, the number of images that reported metrics are measured on, or the option
            that holds it; data of files tell it in `facts`.
        test_split: for a data set, the options under which it has a test split beside the validation split; None if it
            never has one.
    """

    path: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    legacy_values: Mapping[str, Any] = field(default_factory=dict)
    task: str = "classification"
    channels: int | None = None
    generator: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    images: int | str | None = None
    test_split: Mapping[str, Any] | None = None


_PSSA = asdict(PSSAOptions())
_PSSA_LEGACY = {"head_channels": None, "frozen_query_key": False}
_BRANCHES = {"kernel_size": 3, "dilated_kernel_size": 5}
_POSITIONS = {"position_encoding": False, "position_size": None}
_SELF_ATTENTION = {
    "num_heads": None,
    "key_channels": None,
    "output_projection": False,
    **_POSITIONS,
    "softmax": True,
}
_AA_CONVOLUTION = {
    "kernel_size": 3,
    "num_heads": None,
    "key_ratio": 0.2,
    "value_ratio": 0.1,
    "min_key_channels": 20,
    **_POSITIONS,
}
_INVOLUTION = {"group_channels": None, "reduction": 4}

OPERATORS: dict[str, Registered] = {
    "convolution": Registered("lightning_xvol.operators.convolution:Convolution", "Convolution", {"kernel_size": 3}),
    "multi_convolution": Registered(
        "lightning_xvol.operators.multi_convolution:MultiConvolution", "Multi-Convolution", _BRANCHES
    ),
    "aa_convolution": Registered(
        "lightning_xvol.operators.aa_convolution:AAConvolution", "AA-Convolution", _AA_CONVOLUTION
    ),
    "involution": Registered(
        "lightning_xvol.operators.involution:Involution", "Involution", {"kernel_size": 7, **_INVOLUTION}
    ),
    "self_attention": Registered(
        "lightning_xvol.operators.self_attention:SelfAttention",
        "Self-Attention",
        _SELF_ATTENTION,
        legacy_values={"key_channels": None, **_POSITIONS, "softmax": True},
    ),
    "pssa": Registered("lightning_xvol.operators.pssa:PSSA", "PSSA", _PSSA, legacy_values=_PSSA_LEGACY),
    "xvolution": Registered(
        "lightning_xvol.operators.xvolution:XVolution",
        "X-volution",
        {**_BRANCHES, **_PSSA},
        legacy_values=_PSSA_LEGACY,
    ),
    "xvolution_sa": Registered(
        "lightning_xvol.operators.xvolution_sa:XVolutionSA",
        "X-volution(SA)",
        {**_BRANCHES, **_SELF_ATTENTION},
        legacy_values={"softmax": True},
    ),
    "xvolution_inv": Registered(
        "lightning_xvol.operators.xvolution_inv:XVolutionInv",
        "X-volution(Inv)",
        {**_BRANCHES, "involution_kernel_size": 7, **_INVOLUTION},
    ),
    "wide_convolution": Registered(
        "lightning_xvol.operators.wide_convolution:WideConvolution",
        "Wide convolution",
        {**_BRANCHES, "num_heads": None},
    ),
    "paired_convolution": Registered(
        "lightning_xvol.operators.paired_convolution:PairedConvolution",
        "Paired convolution",
        {**_BRANCHES, "second_kernel_size": 1},
    ),
    "se_convolution": Registered(
        "lightning_xvol.operators.se_convolution:SEConvolution",
        "SE-Convolution",
        {"kernel_size": 3, "reduction": 16, "squeeze_start": "pairs"},
        legacy_values={"squeeze_start": "random"},
    ),
    "xvolution_pointwise": Registered(
        "lightning_xvol.operators.xvolution_pointwise:XVolutionPointwise",
        "Static + 1x1",
        {**_BRANCHES, "num_heads": None},
    ),
}

_SMALL_RESNET = {
    "stem_width": 16, "block": "bottleneck", "blocks": (2, 1, 1, 1), "widths": (16, 16, 32, 32),
    "strides": (1, 2, 1, 2), "expansion": 2, "stem_pool": False,
}  # fmt: skip
_RESNET = "lightning_xvol.backbones.torchvision_resnet"
_SMALL = "lightning_xvol.backbones.small_resnet:SmallResNet"
_VGG = "lightning_xvol.backbones.vgg:VGG13"


def _small(label: str, block: str, *blocks: int) -> Registered:
    """The block counts of a ResNet, at the widths and strides of the small one."""
    options = {**_SMALL_RESNET, "block": block, "blocks": blocks}
    return Registered(_SMALL, label, options, legacy_values={"stem_pool": False})


BACKBONES: dict[str, Registered] = {
    "small_resnet": Registered(
        _SMALL, "small ResNet", _SMALL_RESNET, legacy_values={"block": "bottleneck", "stem_pool": False}
    ),
    "small_resnet18": _small("small ResNet-18", "basic", 2, 2, 2, 2),
    "small_resnet34": _small("small ResNet-34", "basic", 3, 4, 6, 3),
    "small_resnet50": _small("small ResNet-50", "bottleneck", 3, 4, 6, 3),
    "small_resnet101": _small("small ResNet-101", "bottleneck", 3, 4, 23, 3),
    "small_vgg13": Registered(_VGG, "small VGG-13", {"widths": (16, 16, 16, 32, 32)}),
    "resnet18": Registered(f"{_RESNET}:resnet18", "ResNet-18", {"stem": "imagenet"}),
    "resnet34": Registered(f"{_RESNET}:resnet34", "ResNet-34", {"stem": "imagenet"}),
    "resnet50": Registered(f"{_RESNET}:resnet50", "ResNet-50", {"stem": "imagenet"}),
    "resnet101": Registered(f"{_RESNET}:resnet101", "ResNet-101", {"stem": "imagenet"}),
    "vgg13": Registered(_VGG, "VGG-13", {"widths": (64, 128, 256, 512, 512)}),
    "stack": Registered("lightning_xvol.backbones.stack:Stack", "stack", {"depth": 1, "width": 8, "expansion": 2}),
}


def _cifar(name: str, label: str, classes: int) -> Registered:
    facts = {"classes": classes, "train": 50_000, "validation": 10_000}
    return Registered(f"lightning_xvol.data.cifar:{name}", label, {"augment": True}, channels=3, facts=facts)


_MATCH = {
    "distance": 12, "noise": 0.1, "train_size": 6000, "validation_size": 1000, "test_size": 1000, "draw": 0,
    "canvas": 32,
}  # fmt: skip

DATASETS: dict[str, Registered] = {
    "match": Registered(
        "lightning_xvol.data.match:Match",
        "match-to-sample",
        _MATCH,
        legacy_values={"canvas": 32},
        channels=1,
        generator=1,
        images="test_size",
        test_split={},
    ),
    "digits": Registered("lightning_xvol.data.digits:Digits", "digits", {"image_size": 32}, channels=1, images=599),
    "cifar10": _cifar("CIFAR10", "CIFAR-10", 10),
    "cifar100": _cifar("CIFAR100", "CIFAR-100", 100),
    "fashion_mnist": Registered(
        "lightning_xvol.data.fashion_mnist:FashionMNIST",
        "Fashion-MNIST",
        {"augment": True, "split": "official", "train_size": None, "validation_size": None},
        legacy_values={"split": "official", "train_size": None, "validation_size": None},
        channels=1,
        facts={"classes": 10, "train": 60_000, "validation": 10_000},
        test_split={"split": "by_seed"},
    ),
    "imagenet": Registered(
        "lightning_xvol.data.imagenet:ImageNet",
        "ImageNet-1k",
        {"image_size": 224},
        channels=3,
        facts={"classes": 1000, "train": 1_281_167, "validation": 50_000},
    ),
    "folder": Registered(
        "lightning_xvol.data.folder:Folder",
        "a folder of pictures",
        {"label": "", "image_size": 224, "validation_part": 0.2, "draw": 0},
        channels=3,
    ),
    "attention_maps": Registered(
        "lightning_xvol.data.attention_maps:AttentionMaps",
        "global attention on feature maps",
        {
            "source": "spectrum",
            "softmax": True,
            "channels": 8,
            "size": 16,
            "train_size": 1000,
            "validation_size": 200,
            "draw": 0,
        },
        task="regression",
        generator=1,
        images="validation_size",
    ),
    "coco": Registered(
        "lightning_xvol.data.coco:Coco",
        "COCO 2017",
        {
            "masks": False,
            "short_sides": (640, 672, 704, 736, 768, 800),
            "test_short_side": 800,
            "long_side": 1333,
            "flip": 0.5,
        },
        task="detection",
        channels=3,
        # The number of images, the first and the last id of instances_train2017.json and instances_val2017.json.
        facts={
            "classes": 80,
            "image_ids": {"train": [118_287, 9, 581_929], "validation": [5_000, 139, 581_781]},
        },
        images=5000,
    ),
    "shapes_coco": Registered(
        "lightning_xvol.data.shapes_coco:ShapesCoco",
        "shapes in COCO's format",
        {
            "masks": False,
            "image_size": 192,
            "aspect_ratios": (1.0,),
            "train_size": 400,
            "validation_size": 120,
            "draw": 0,
            "short_sides": None,
            "test_short_side": None,
            "long_side": 768,
            "flip": 0.5,
        },
        task="detection",
        channels=3,
        generator=1,
        images="validation_size",
    ),
}

KINDS: dict[str, dict[str, Registered]] = {"operator": OPERATORS, "backbone": BACKBONES, "data": DATASETS}


def is_known(kind: str, name: str) -> bool:
    """Whether `name` is registered or names a network of a library, so that its options are known."""
    return name in KINDS[kind] or libraries.split(kind, name) is not None


def lookup(kind: str, name: str) -> Registered:
    """What is registered as `name`, or what a library's network or the import path `package.module:Class` stands for.

    Raises:
        UserError: for an unknown name, with the known ones and the nearest match.
    """
    known = KINDS[kind]
    if name in known:
        return known[name]
    named = libraries.split(kind, name)
    if named is not None:
        library, network = named
        return Registered(libraries.FACTORIES[library], f"{network} ({library})", libraries.OPTIONS)
    if ":" in name:
        return Registered(name, name.rsplit(":", 1)[1])
    others = [*(f"{library}:NAME" for library in libraries.FACTORIES if kind == "backbone"), "an import path"]
    raise UserError(
        f"unknown {kind} {name!r}{nearest(name, known)}; "
        f"known: {', '.join(known)}, or {' or '.join(others)} package.module:Class"
    )


def task(name: str, options: Mapping[str, Any]) -> str:
    """The task of the data set `name`, a key of `config.metrics.METRICS`. Detection with masks is segmentation."""
    registered = lookup("data", name)
    masks = {**registered.options, **options}.get("masks", False)
    return "segmentation" if registered.task == "detection" and masks else registered.task


def images_of(name: str, options: Mapping[str, Any], limit: int | None = None) -> int | None:
    """The number of images that the reported metrics of the data set `name` are measured on; None where unknown."""
    registered = DATASETS.get(name, Registered("", ""))
    images = registered.facts.get("validation", registered.images)
    if isinstance(images, str):
        images = {**registered.options, **options}.get(images)
    if not isinstance(images, int):
        return None
    return images if limit is None else min(images, limit)


def has_test_split(name: str, options: Mapping[str, Any]) -> bool:
    """Whether the data set `name` is known to have a test split beside the validation split."""
    registered = lookup("data", name)
    chosen = {**registered.options, **options}
    wanted = registered.test_split
    return wanted is not None and all(chosen.get(option) == value for option, value in wanted.items())


def label(kind: str, name: str) -> str:
    """The name of `name` in tables and figures."""
    return lookup(kind, name).label


def resolve_options(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of `name`, replaced by `options` where these are given.

    Options of an import path pass through as they are. Its own constructor checks them, since this module imports
    nothing.

    Raises:
        UserError: for an option that `name` does not have.
    """
    registered = lookup(kind, name)
    if not is_known(kind, name):
        return dict(options)
    check_names(f"{kind} {name!r}", options, list(registered.options))
    return {**registered.options, **options}


def load(kind: str, name: str) -> Any:
    """Import the class or function that `name` stands for.

    Raises:
        UserError: for an import path that a file names (`lightning_xvol.config.imports`), one that leads nowhere, or
            one that leads to something else than a `kind`.
    """
    found = import_class(kind, lookup(kind, name).path, registered=is_known(kind, name))
    named = libraries.split(kind, name)
    return found if named is None else functools.partial(found, named[1])
