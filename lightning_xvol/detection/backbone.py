"""The body of a detector: a ResNet with an operator and a feature pyramid, its strides, and what is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d

from lightning_xvol.backbones import place_strides, plain_backbone, replace_every, replace_operators, trace
from lightning_xvol.backbones.pretrained import check_unmoved, is_plain
from lightning_xvol.config.detectors import DetectorPreset
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.errors import UserError

Pretraining = Literal["random", "torchvision", "own"]

STAGES = ("layer1", "layer2", "layer3", "layer4")


class FrozenNorm(FrozenBatchNorm2d):
    """torchvision's frozen batch norm, with its scales cast to the precision of the input.

    Under autocast, float32 scales would turn the maps back into float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + self.eps).rsqrt()  # [C]
        shift = self.bias - self.running_mean * scale
        return x * scale[:, None, None].to(x.dtype) + shift[:, None, None].to(x.dtype)


@dataclass(frozen=True)
class Body:
    """The body of a detector.

    Attributes:
        network: gives the levels P2 to P6.
        strides: of the levels P2 to P5.
        replaced: paths of the operators in `network.body`.
        new: the part of `replaced` whose weights no file holds.
    """

    network: BackboneWithFPN
    strides: tuple[int, ...]
    replaced: tuple[str, ...]
    new: tuple[str, ...]


def build_body(
    backbone: BackboneConfig, operator: OperatorConfig, preset: DetectorPreset, pretraining: Pretraining
) -> Body:
    """The body of a detector, with random weights.

    `pretraining` names the weights that will be loaded. It decides what is frozen and where blocks stride:

    * `random`: everything is trained and every batch norm updates its statistics, whatever the preset says. Every
      bottleneck strides where `backbone.stride_in_1x1` says.
    * `torchvision`: the stages up to `freeze_at` and all batch norms are frozen. The replaced blocks are not, because
      the statistics there belong to the old convolution. The other blocks stride in the 3x3, as those weights need it.
    * `own`: the weights of a classifier with the same operator. Stages and batch norms are frozen, also those of the
      operator. Every bottleneck strides where `backbone.stride_in_1x1` says.

    A 3x3 convolution takes its weights from torchvision's file, so the baseline is Detectron2's.

    Raises:
        UserError: as in `build_backbone`; for a stage that does not halve the map of the one before; and for
            torchvision's weights in a 3x3 convolution whose stride was moved.
    """
    network = plain_backbone(backbone, num_classes=1)
    if pretraining != "torchvision":
        place_strides(network, backbone.stride_in_1x1)
    options = dict(operator.options)
    if backbone.places == "every":
        replaced = replace_every(network, operator.name, **options)
    else:
        replaced = replace_operators(
            network, operator.name, backbone.stages, stride_in_1x1=backbone.stride_in_1x1, **options
        )
    new = _new_paths(network, replaced, pretraining)
    channels, strides = _levels(network)
    names = {stage: str(number) for number, stage in enumerate(STAGES)}
    pyramid = BackboneWithFPN(network, names, channels, preset.fpn_channels)
    if pretraining != "random":
        _freeze(pyramid.body, preset, new)
    return Body(pyramid, strides, tuple(replaced), tuple(new))


def _new_paths(network: nn.Module, replaced: list[str], pretraining: Pretraining) -> list[str]:
    if pretraining == "own":
        return []
    if pretraining == "random":
        return replaced
    plain = [path for path in replaced if is_plain(network.get_submodule(path))]
    check_unmoved(network, plain)
    return [path for path in replaced if path not in plain]


def _levels(network: nn.Module) -> tuple[list[int], tuple[int, ...]]:
    """Channels and strides of the four stages."""
    side = 256
    shapes = {run.path: run.output for run in trace(network, (3, side, side)) if run.path in STAGES}
    found = [(shape[1], side // shape[2]) for shape in map(shapes.get, STAGES) if shape is not None]
    channels, strides = zip(*found, strict=True)
    if any(stride != strides[0] << number for number, stride in enumerate(strides)):
        raise UserError(
            f"the stages of the backbone have strides {strides}; a feature pyramid needs each to be twice the one "
            "before it, as in a ResNet, or in small_resnet with strides=(1, 2, 2, 2) and stem_pool=true"
        )
    return list(channels), strides


def _freeze(body: nn.Module, preset: DetectorPreset, new: list[str]) -> None:
    trained = STAGES[max(0, preset.freeze_at - 1) :] if preset.freeze_at else None
    for name, parameter in body.named_parameters():
        if trained is not None and not name.startswith((*trained, *new)):
            parameter.requires_grad_(False)
    if preset.frozen_norms:
        live = tuple(f"{path.rpartition('.')[0]}." for path in new)
        for path, module in list(body.named_modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.BatchNorm2d) and not f"{path}.{name}".startswith(live):
                    setattr(module, name, FrozenNorm(child.num_features, child.eps))
