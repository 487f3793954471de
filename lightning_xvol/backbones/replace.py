"""Puts an operator into the stages of a ResNet, at the positions of the paper (4.1, Fig. 2, Table 5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from lightning_xvol.backbones.strides import STAGES, Block, check_movable, move_stride, planned_stride, stage_blocks
from lightning_xvol.errors import UserError
from lightning_xvol.operators import build_operator


def replace_operators(
    model: nn.Module,
    name: str,
    stages: Iterable[int] = (5,),
    *,
    stride_in_1x1: bool | None = None,
    **options: Any,
) -> list[str]:
    """Replace, in place, the last 3x3 of every BasicBlock or the middle 3x3 of every Bottleneck of `stages`.

    `model` is any torchvision or timm ResNet, or a module that contains one, such as a detector. stage2..stage5 are its
    `layer1`..`layer4`. All other weights, and the block's own batch norm and ReLU, stay. The operator gets device,
    dtype and training mode of the convolution that it replaces, and its own initialisation. On an error nothing is
    replaced.

    `stride_in_1x1` chooses where a replaced bottleneck has its stride:

    * True: in the first 1x1, so that the operator has stride 1, as in the paper (6.1.2) and in Detectron2. Every recipe
      of the paper uses it. It is safe with pretrained weights: the 1x1 gives the same values at the positions that
      remain, and only the new operator reads them.
    * False: in the operator, as torchvision and timm have it in the 3x3.
    * None, the default: where the model has it, so that nothing but the operator changes.

    Other blocks keep their stride. The weights carry the value; loading them into a model with the other value raises.

    Args:
        model: changed in place.
        name: a registered operator or an import path `package.module:Class`.
        stages: from 2, 3, 4, 5; the paper's default is the last one.
        stride_in_1x1: see above.
        options: of the operator.

    Returns:
        The paths of the replaced modules, for example `["layer4.0.conv2", "layer4.1.conv2", "layer4.2.conv2"]`.

    Raises:
        UserError: for an unknown stage, a stage without such a convolution, or a grouped or dilated convolution.
    """
    chosen = _check_stages(stages)
    found = _find(model, chosen, stride_in_1x1)
    # Everything is built before anything changes, so that a wrong option leaves the model as it was.
    operators = [
        _build(name, convolution, planned_stride(block, convolution, stride_in_1x1), options)
        for block, convolution in found
    ]
    for (block, convolution), operator in zip(found, operators, strict=True):
        move_stride(block, convolution, stride_in_1x1)
        block.module.conv2 = operator
    return [f"{block.path}.conv2" for block, _ in found]


def replace_every(model: nn.Module, name: str, **options: Any) -> list[str]:
    """Replace, in place, every spatial convolution of `model`: the stem, both 3x3 of a BasicBlock, strided ones.

    The result is the network "entirely composed of" the operator that the paper leaves to future work (5). 1x1
    convolutions are not spatial and stay. An operator keeps channels and stride of the convolution that it replaces,
    but not its kernel size (ResNet's stem has 7x7). Everything else is as in `replace_operators`.

    Returns:
        The paths of the replaced modules.

    Raises:
        UserError: for a grouped or dilated convolution, for one whose padding changes the size of the map, and for a
            model without spatial convolutions.
    """
    convolutions = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
    }
    if not convolutions:
        raise UserError(f"{type(model).__name__} has no nn.Conv2d above 1x1 to replace")
    for path, convolution in convolutions.items():
        _check_plain(path, convolution)
        height, width = convolution.kernel_size
        if height % 2 == 0 or height != width or convolution.padding != (height // 2, height // 2):
            raise UserError(
                f"{path} has kernel_size={convolution.kernel_size} and padding={convolution.padding}; "
                "expected an odd square kernel, padded by half of it"
            )
    operators = {path: _build(name, conv, conv.stride[0], options) for path, conv in convolutions.items()}
    for path, operator in operators.items():
        parent, _, child = path.rpartition(".")
        setattr(model.get_submodule(parent), child, operator)
    return list(operators)


def _build(name: str, convolution: nn.Conv2d, stride: int, options: dict[str, Any]) -> nn.Module:
    operator: nn.Module = build_operator(name, convolution.in_channels, convolution.out_channels, stride, **options)
    operator.to(device=convolution.weight.device, dtype=convolution.weight.dtype)
    return operator.train(convolution.training)


def _check_stages(stages: Iterable[int]) -> list[int]:
    known = ", ".join(map(str, STAGES))
    if isinstance(stages, (int, str)):
        raise UserError(f"stages={stages!r} must be a tuple such as (5,), of {known}")
    chosen = list(dict.fromkeys(stages))
    unknown = [stage for stage in chosen if stage not in STAGES]
    if unknown or not chosen:
        raise UserError(
            f"stages={tuple(chosen)} must be chosen from {known}, which are layer1, layer2, layer3, layer4 of a ResNet"
        )
    return chosen


def _find(model: nn.Module, stages: list[int], stride_in_1x1: bool | None) -> list[tuple[Block, nn.Conv2d]]:
    """The blocks to change, each with the convolution to replace."""
    changed: list[tuple[Block, nn.Conv2d]] = []
    matched: set[int] = set()
    seen: list[str] = []
    for stage, path, blocks, others in stage_blocks(model, stages):
        found = [(block, block.second) for block in blocks if isinstance(block.second, nn.Conv2d)]
        others += [
            f"{block.path}.conv2 ({type(block.second).__name__})"
            for block in blocks
            if not isinstance(block.second, nn.Conv2d)
        ]
        if not found:
            # A module called `layer4` need not be a stage of a ResNet: a head may have such a layer.
            seen += others or [path]
            continue
        if others:
            raise UserError(
                f"{path} can be replaced only in part: {', '.join(others)} has no 3x3 nn.Conv2d at a known position"
            )
        changed += [(block, _check_convolution(block, conv, stride_in_1x1)) for block, conv in found]
        matched.add(stage)
    missing = [stage for stage in stages if stage not in matched]
    if missing:
        layers = ", ".join(f"layer{stage - 1}" for stage in missing)
        instead = f"; found {', '.join(seen)}" if seen else ""
        raise UserError(
            f"{type(model).__name__} has nothing to replace in stages {tuple(missing)}: looked in modules called "
            f"{layers} for the last 3x3 nn.Conv2d of a BasicBlock or the middle one of a Bottleneck (conv2){instead}"
        )
    return changed


def _check_convolution(block: Block, convolution: nn.Conv2d, stride_in_1x1: bool | None) -> nn.Conv2d:
    path = f"{block.path}.conv2"
    _check_plain(path, convolution)
    if convolution.kernel_size != (3, 3) or convolution.padding != (1, 1):
        raise UserError(
            f"{path} has kernel_size={convolution.kernel_size} and padding={convolution.padding}; "
            "expected a 3x3 with padding 1"
        )
    if block.bottleneck:
        check_movable(block, convolution, bool(stride_in_1x1))
    return convolution


def _check_plain(path: str, convolution: nn.Conv2d) -> None:
    if convolution.groups != 1 or convolution.dilation != (1, 1):
        raise UserError(
            f"{path} has groups={convolution.groups} and dilation={convolution.dilation}; only a plain convolution "
            "can be replaced, so choose a ResNet without groups and with output stride 32"
        )
