"""The networks of timm and torchvision by name, as classifiers with random weights. Nothing is downloaded.

`replace_operators` decides which of them take an operator: ResNets with plain convolutions in `layer1`..`layer4`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn

from lightning_xvol.backbones.stem import set_stem
from lightning_xvol.config.libraries import missing
from lightning_xvol.errors import UserError, nearest, one_line


def from_timm(network: str, num_classes: int, in_channels: int = 3, stem: str = "imagenet") -> nn.Module:
    """timm's `network`. `stem` as in `lightning_xvol.backbones.stem.set_stem`.

    Raises:
        UserError: if timm is not installed, or has no such network; for the name of weights, such as
            `resnet50.a1_in1k`; and for a network that cannot be built like this.
    """
    try:
        import timm
    except ImportError as error:
        if error.name != "timm":
            raise UserError(f"backbone 'timm:{network}' needs timm, which cannot be imported: {error}") from error
        raise missing(f"timm:{network}") from None
    known = timm.list_models()
    architecture, dot, tag = network.partition(".")
    if dot and architecture in known:
        raise UserError(
            f"backbone 'timm:{network}' names the weights {tag!r}, and nothing is downloaded: name the network, "
            f"timm:{architecture}, and the file of its weights with backbone.pretrained=FILE"
        )
    _check_known("timm", network, known)
    model = _made(
        f"timm:{network}",
        lambda: timm.create_model(network, pretrained=False, num_classes=num_classes, in_chans=in_channels),
    )
    return set_stem(model, stem, model_channels=in_channels, in_channels=in_channels, what=f"timm:{network}")


def from_torchvision(network: str, num_classes: int, in_channels: int = 3, stem: str = "imagenet") -> nn.Module:
    """torchvision's classifier `network`, and otherwise as `from_timm`."""
    from torchvision import models

    _check_known("torchvision", network, models.list_models(module=models))
    model = _made(f"torchvision:{network}", lambda: models.get_model(network, weights=None, num_classes=num_classes))
    return set_stem(model, stem, model_channels=3, in_channels=in_channels, what=f"torchvision:{network}")


def _check_known(library: str, network: str, known: Collection[str]) -> None:
    if network not in known:
        raise UserError(
            f"{library} has no network {network!r}{nearest(network, known)}; it has {len(known)}, such as resnet50"
        )


def _made(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` builds, where any error becomes one sentence: each network checks its arguments in its own way."""
    try:
        return make()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"cannot build backbone {name!r} as a classifier: {one_line(error)}") from error
