"""Networks that contain an operator: `build_backbone`, `replace_operators`, and the cost of a model."""

from __future__ import annotations

import inspect

from torch import nn

from lightning_xvol.backbones.cost import count_macs, count_parameters, trace
from lightning_xvol.backbones.pretrained import check_unmoved, is_plain
from lightning_xvol.backbones.replace import replace_every, replace_operators
from lightning_xvol.backbones.strides import place_strides
from lightning_xvol.backbones.taps import count_taps
from lightning_xvol.config import registry
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.errors import UserError

__all__ = [
    "build_backbone",
    "count_macs",
    "count_parameters",
    "count_taps",
    "place_strides",
    "plain_backbone",
    "replace_every",
    "replace_operators",
    "trace",
]


def build_backbone(
    backbone: BackboneConfig, operator: OperatorConfig, num_classes: int, in_channels: int = 3
) -> nn.Module:
    """A classifier `[B, in_channels, H, W]` to logits `[B, num_classes]` with `operator` in `backbone.stages`.

    With `backbone.places="every"` the operator replaces every spatial convolution instead (`replace_every`).

    `backbone.stride_in_1x1` applies to every bottleneck of the network, also to those without the operator. So two
    networks that differ in operator or stages differ in nothing else. With weights of a library
    (`backbone.pretrained_kind`) it applies to the blocks with the operator alone: the others read the maps that their
    weights were trained on. Weights are not loaded here.

    The attribute `replaced` of the network names the places of the operator.

    Raises:
        UserError: as in `plain_backbone`; for a wrong option of the operator; for a network without these stages; and
            for a library's weights in a plain 3x3 convolution whose stride has moved.
    """
    model = plain_backbone(backbone, num_classes, in_channels)
    from_library = backbone.is_pretrained and backbone.pretrained_kind == "library"
    if not from_library:
        place_strides(model, backbone.stride_in_1x1)
    options = dict(operator.options)
    if backbone.places == "every":
        replaced = replace_every(model, operator.name, **options)
    else:
        stride_in_1x1 = backbone.stride_in_1x1
        replaced = replace_operators(model, operator.name, backbone.stages, stride_in_1x1=stride_in_1x1, **options)
    if from_library:
        check_unmoved(model, [path for path in replaced if is_plain(model.get_submodule(path))])
    model.replaced = tuple(replaced)  # type: ignore[assignment]
    return model


def plain_backbone(backbone: BackboneConfig, num_classes: int, in_channels: int = 3) -> nn.Module:
    """The network that `backbone` names, without an operator: plain convolutions and their own strides.

    An import path must name a callable that takes `num_classes`, `in_channels` and its options, and returns a ResNet
    with stages `layer1`..`layer4`.

    Raises:
        UserError: for an unknown name or option.
    """
    options = registry.resolve_options("backbone", backbone.name, backbone.options)
    factory = registry.load("backbone", backbone.name)
    arguments = {"num_classes": num_classes, "in_channels": in_channels, **options}
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as error:
        raise UserError(
            f"backbone {backbone.name!r} does not take ({', '.join(arguments)}): {error}; expected a callable with "
            "num_classes, in_channels and the options that were set"
        ) from error
    model: nn.Module = factory(**arguments)
    return model
