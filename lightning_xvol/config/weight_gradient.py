"""Where the weight gradient of a convolution is computed tap by tap. Nothing here imports torch.

Both forms differ in the last digits, and so in the weights after training. A run with `train.weight_gradient=live_taps`
therefore has another id than before, if one of its convolutions takes live taps. `has_live_taps` finds these runs from
the configuration alone. Any other run keeps its id and computes as before, also where the sizes of its maps are not
known from the configuration: a network, data or an operator by import path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lightning_xvol.config import registry
from lightning_xvol.config.schema import BackboneConfig, DataConfig, OperatorConfig, RunConfig

PRECISIONS = {"live_taps": ("32-true", "64-true"), "live_taps_bfloat16": ("bf16-mixed",)}
"""The precisions in which each value of `train.weight_gradient` uses live taps. In all others PyTorch's form runs."""

DILATION = 2
"""The dilation of the second convolution of the convolution branch (paper, 6.1.2)."""


def live_taps_win(
    kernel_size: int, dilation: int, in_channels: int, height: int, width: int, channels_last: bool
) -> bool:
    """Whether a KxK convolution of a map of this size is faster with one product per live tap as its weight gradient.

    The table has the time of forward and backward with PyTorch's weight gradient, divided by that with live taps, on
    one CPU thread in float32, for `[B, C]`:

    | memory format | K, dilation | map | [64, 16] | [64, 64] | [16, 256] | [16, 512] |
    | --- | --- | --- | --- | --- | --- | --- |
    | channels_last | 5, 2 | 4x4 | 2.3 | 3.8 | 2.5 | 3.4 |
    | channels_last | 5, 2 | 7x7 | 2.3 | 1.9 | 1.3 | 1.5 |
    | channels_last | 5, 2 | 8x8 | 2.4 | 1.7 | 1.3 | 1.3 |
    | channels_last | 5, 2 | 9x9 | 0.6 | 0.7 | 0.8 | 0.9 |
    | channels_last | 9, 1 | 4x4 | | | 1.3 | 1.6 |
    | channels_last | 7, 1 | 2x2 | | | 1.7 | 1.9 |
    | channels_last | 7, 1 | 3x3 | | | 1.4 | 2.7 |
    | channels_last | 3, 1 | 1x1 | | | 1.8 | 2.1 |
    | contiguous | 5, 2 | 4x4 | 1.3 | 2.4 | 1.8 | 2.3 |
    | contiguous | 5, 2 | 7x7 | 1.2 | 1.3 | 1.1 | 1.1 |
    | contiguous | 5, 2 | 8x8 | 1.1 | 1.2 | 1.0 | 1.0 |
    | contiguous | 5, 2 | 9x9 | 0.5 | 0.7 | 0.8 | 0.9 |
    | contiguous | 7, 2 | 11x11 | 1.4 | 1.3 | 1.1 | 1.2 |
    | contiguous | 3, 2 | 2x2 | 0.8 | 1.5 | 1.6 | 1.9 |
    | contiguous | 3, 2 | 4x4 | 0.8 | 1.1 | 1.1 | 1.1 |
    | contiguous | 9, 1 | 2x2 | | | 1.1 | 1.3 |
    | contiguous | 9, 1 | 4x4 | | | 1.2 | 1.4 |
    | contiguous | 3, 1 | 1x1 | | | 1.3 | 1.4 |

    On larger maps live taps lose, because oneDNN has a fast form for a dilated kernel that is not larger than the map.
    The rule leaves out some shapes in contiguous memory that win a little, because another rule would change the ids of
    runs again. Other processors and GPUs are not measured. GPUs use PyTorch's form.
    """
    reach, side = dilation * (kernel_size // 2), max(height, width)
    if channels_last:
        return side <= 2 * reach if dilation > 1 else in_channels >= 256 and side <= reach
    if dilation > 1:
        return kernel_size >= 5 and in_channels >= 64 and side < 2 * reach
    return in_channels >= 512 and 1 < side <= reach


class FeatureMap(NamedTuple):
    """The input of a convolution: channels, height and width."""

    channels: int
    height: int
    width: int

    def strided(self, stride: int) -> FeatureMap:
        return self._replace(height=-(-self.height // stride), width=-(-self.width // stride))


def has_live_taps(config: RunConfig) -> bool:
    """Whether some convolution of the resolved `config` takes live taps, as far as that is known from it."""
    if config.train.precision not in PRECISIONS.get(config.train.weight_gradient, ()) or config.train.compile:
        return False
    kernels, channels_last = _kernels(config.operator), config.train.memory_format == "channels_last"
    return any(
        live_taps_win(kernel_size, dilation, *feature_map, channels_last)
        for image in _images(config.data)
        for feature_map in _operator_inputs(config.backbone, image)
        for kernel_size, dilation in kernels
    )


def _kernels(operator: OperatorConfig) -> list[tuple[int, int]]:
    """Kernel size and dilation of the spatial convolutions of an operator, odd sizes alone: others are refused."""
    options = operator.options
    if operator.name not in registry.OPERATORS or operator.name == "involution" or options.get("value_ratio") == 1:
        return []
    found = [(options.get("kernel_size"), 1)]
    if operator.name != "wide_convolution":  # it counts the parameters of the dilated convolution and has none
        found.append((options.get("dilated_kernel_size"), DILATION))
    return [(size, dilation) for size, dilation in found if isinstance(size, int) and size % 2 == 1]


_IMAGE_SIZES: Mapping[str, int | str] = {
    "match": "canvas", "digits": "image_size", "cifar10": 32, "cifar100": 32, "fashion_mnist": 28,
    "imagenet": "image_size", "folder": "image_size", "attention_maps": "size",
}  # fmt: skip
"""Side of the images of a data set, or the option that holds it."""
_CHANNELS = {"attention_maps": "channels"}
_MULTIPLE = 32  # detectors pad their batches to a multiple of it


def _images(data: DataConfig) -> list[FeatureMap]:
    """The sizes of training images, as far as they are known. Pictures of detectors have the smallest ones here."""
    options = data.options
    if registry.lookup("data", data.name).task == "detection":
        shorts = options.get("short_sides") or (options.get("image_size"),)
        ratios = options.get("aspect_ratios") or (1.0,)
        sides = [
            (short, math.ceil(short * max(ratio, 1 / ratio)))
            for short in (shorts if isinstance(shorts, tuple) else (shorts,))
            for ratio in (ratios if isinstance(ratios, tuple) else (ratios,))
            if _is_positive(short) and _is_positive(ratio)
        ]
        return [FeatureMap(3, *(_MULTIPLE * -(-side // _MULTIPLE) for side in pair)) for pair in sides]
    known = _IMAGE_SIZES.get(data.name)
    side: Any = options.get(known) if isinstance(known, str) else known
    channels: Any = options.get(_CHANNELS.get(data.name, ""), registry.lookup("data", data.name).channels)
    return [FeatureMap(channels, side, side)] if _is_positive(side) and _is_positive(channels) else []


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and value > 0


class _Network(NamedTuple):
    """The sizes of a network: the stem's strides and channels, and per stage the blocks, stride and width."""

    stem: tuple[int, ...]
    stem_width: int
    blocks: tuple[int, ...]
    strides: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: bool
    expansion: int

    def is_valid(self) -> bool:
        """Whether a network can be built from these sizes."""
        parts = (self.blocks, self.strides, self.widths)
        return all(isinstance(part, tuple) and len(part) == 4 and all(map(_is_positive, part)) for part in parts)


_RESNETS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


def _network(name: str, options: Mapping[str, Any]) -> _Network | None:
    if name in _RESNETS:
        bottleneck = name in ("resnet50", "resnet101")
        stem: tuple[int, ...] = (2, 2) if options["stem"] == "imagenet" else (1,)
        return _Network(stem, 64, _RESNETS[name], (1, 2, 2, 2), (64, 128, 256, 512), bottleneck, 4 if bottleneck else 1)
    if name.startswith("small_resnet"):
        stem = (2, 2) if options["stem_pool"] else (2,)
        keys = ("stem_width", "blocks", "strides", "widths", "expansion")
        sizes: dict[str, Any] = {key: options[key] for key in keys}
        return _Network(stem=stem, bottleneck=options["block"] == "bottleneck", **sizes)
    return None


def _operator_inputs(backbone: BackboneConfig, image: FeatureMap) -> Iterator[FeatureMap]:
    """The maps that the operators of `backbone` take, for images of one size; none for an import path."""
    options, every = backbone.options, backbone.places == "every"
    if backbone.name in ("vgg13", "small_vgg13"):
        widths = options["widths"]
        for stage, width in enumerate(widths if isinstance(widths, tuple) else (), 1):
            if every:
                yield image
            image = image._replace(channels=width)
            if stage in backbone.stages or every:
                yield image
            image = image.strided(2)
        return
    if backbone.name == "stack":
        yield image._replace(channels=options["width"])
        return
    network = _network(backbone.name, options)
    if network is None or not network.is_valid():
        return
    if every:
        yield image
    for stride in network.stem:
        image = image.strided(stride)
    image = image._replace(channels=network.stem_width)
    sections = zip(network.blocks, network.strides, network.widths, strict=True)
    for stage, (blocks, stride, width) in enumerate(sections, 2):
        for block in range(blocks):
            first, image = image, image.strided(stride if block == 0 else 1)
            if stage in backbone.stages or every:
                yield from _in_block(network, backbone, first, image, width)
            image = image._replace(channels=network.expansion * width)


def _in_block(
    network: _Network, backbone: BackboneConfig, before: FeatureMap, after: FeatureMap, width: int
) -> Iterator[FeatureMap]:
    """The operators' inputs in one block, which has a map `before` and `after` its stride."""
    if network.bottleneck:
        yield (after if backbone.stride_in_1x1 else before)._replace(channels=width)
        return
    if backbone.places == "every":
        yield before
    yield after._replace(channels=width)
