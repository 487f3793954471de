"""Puts an operator into the stages of a ResNet, at the positions of the paper (4.1, Fig. 2, Table 5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from lightning_xvol.backbones.places import Place, build_all, check_convolution, check_unwrapped, put_in
from lightning_xvol.backbones.strides import STAGES, Block, move_stride, plan_strides, stage_blocks
from lightning_xvol.errors import UserError
from lightning_xvol.operators import checks
from lightning_xvol.operators.settings import pair


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
    dtype, memory format and training mode of the convolution that it replaces. It has its own initialisation, and it
    is trained also where the convolution was frozen. What an operator cannot take over is refused: a bias, another
    padding mode, hooks, parametrizations, a weight that another module shares. On an error nothing is changed.

    Call it before the model is wrapped in `DistributedDataParallel` or FSDP, and before the optimizer is made: both
    keep the parameters that the model has then.

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
        UserError: for an unknown stage, a stage without such a convolution, a convolution with a setting that an
            operator cannot take over, or a model that is wrapped already.
    """
    chosen = _check_stages(stages)
    if stride_in_1x1 is not None:
        checks.boolean("stride_in_1x1", stride_in_1x1)
    check_unwrapped(model)
    found = [(block, conv, plan_strides(block, conv, stride_in_1x1)) for block, conv in _find(model, chosen)]
    places = [
        Place(f"{block.path}.conv2", block.module, conv, (strides.second,) * 2 if strides else pair(conv.stride))
        for block, conv, strides in found
    ]
    # Everything is checked and built before anything changes, and what changes then cannot fail.
    operators = build_all(model, places, name, options)
    for block, convolution, strides in found:
        if strides is not None:
            move_stride(block, strides, convolution.weight.device)
    return put_in(places, operators)


def replace_every(model: nn.Module, name: str, **options: Any) -> list[str]:
    """Replace, in place, every spatial convolution of `model`: the stem, both 3x3 of a BasicBlock, strided ones.

    The result is the network "entirely composed of" the operator that the paper leaves to future work (5). 1x1
    convolutions are not spatial and stay. An operator keeps channels and stride of the convolution that it replaces,
    but not its kernel size (ResNet's stem has 7x7). Everything else is as in `replace_operators`.

    Returns:
        The paths of the replaced modules.

    Raises:
        UserError: for a convolution that an operator cannot replace, for one whose padding changes the size of the
            map, and for a model without spatial convolutions. Then nothing is changed.
    """
    check_unwrapped(model)
    if isinstance(model, nn.Conv2d):
        raise UserError("the model is an nn.Conv2d itself, which nothing holds; use build_operator in its place")
    places = [
        Place(f"{path}.{name}" if path else name, parent, child, pair(child.stride))
        for path, parent in model.named_modules()
        for name, child in parent._modules.items()
        if isinstance(child, nn.Conv2d) and pair(child.kernel_size) != (1, 1)
    ]
    if not places:
        raise UserError(f"{type(model).__name__} has no nn.Conv2d above 1x1 to replace")
    return put_in(places, build_all(model, places, name, options))


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


def _find(model: nn.Module, stages: list[int]) -> list[tuple[Block, nn.Conv2d]]:
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
        for block, convolution in found:
            check_convolution(f"{block.path}.conv2", convolution, size=3)
        changed += found
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
