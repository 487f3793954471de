"""The first layers of a ResNet: as the library makes them, or for small images."""

from __future__ import annotations

from typing import Any

from torch import nn

from lightning_xvol.backbones.small_resnet import initialise
from lightning_xvol.errors import UserError

STEMS = ("imagenet", "small")


def set_stem(model: nn.Module, stem: str, *, model_channels: int, in_channels: int, what: str) -> nn.Module:
    """`model` with the chosen stem, in place.

    Args:
        model: a ResNet with `conv1` and `maxpool`; other networks keep their stem.
        stem: `imagenet` is the network's own (7x7 of stride 2 and max pool in most of them); `small`, for 32x32, is a
            3x3 of stride 1 and no pool.
        model_channels: channels of the images that the model takes now.
        in_channels: channels of the images that it has to take.
        what: names the network, for messages.

    Raises:
        UserError: for an unknown stem, and for a network whose first layers cannot be changed so.
    """
    if stem not in STEMS:
        raise UserError(f"stem={stem!r} of {what} must be one of {', '.join(STEMS)}")
    if stem == "imagenet" and in_channels == model_channels:
        return model
    first = model._modules.get("conv1")
    convolutions = [] if first is None else [part for part in first.modules() if isinstance(part, nn.Conv2d)]
    if not convolutions or "maxpool" not in model._modules:
        raise UserError(
            f"{what} has no conv1 and maxpool, as a ResNet has, so its stem cannot be changed for stem={stem} and "
            f"{in_channels} channels; choose another network"
        )
    width = convolutions[-1].out_channels
    if stem == "small":
        changed = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    elif first is convolutions[0] and first.groups == 1:
        settings: Any = {name: getattr(first, name) for name in ("kernel_size", "stride", "padding")}
        changed = nn.Conv2d(in_channels, width, bias=first.bias is not None, **settings)
    else:
        raise UserError(f"{what} has several convolutions in conv1, so its images must have {model_channels} channels")
    initialise(changed)
    model.conv1 = changed
    return model
