"""The blocks of a ResNet and where a bottleneck has its stride: in the first 1x1 or in the 3x3.

The paper's operator has stride 1 (6.1.2). So in the first bottleneck of a stage the 1x1 before it strides, as in
Detectron2's default. torchvision and timm stride in the 3x3. The shapes of the weights are the same either way, so the
weights say which one it is: every block with a stride that this package has touched gets a `StrideMark`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from lightning_xvol.errors import UserError

STAGES = (2, 3, 4, 5)
"""stage2..stage5 are conv2_x..conv5_x of the paper's Table 5, `layer1`..`layer4` of torchvision and timm."""

MARK = "stride_mark"


class StrideMark(nn.Module):
    """Stores in the state dict whether its bottleneck strides in the first 1x1; loading the other value raises.

    The mark is a buffer, because metadata of a state dict do not survive every way of storing weights (safetensors).
    """

    in_1x1: torch.Tensor

    def __init__(self, in_1x1: bool) -> None:
        super().__init__()
        # The plain value is there for the meta device, where the buffer has no content.
        self.value = in_1x1
        # An integer, like a batch norm's counter: averaging weights subtracts buffers, which does not work for bool.
        self.register_buffer("in_1x1", torch.tensor(int(in_1x1)))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        loaded = state_dict.get(f"{prefix}in_1x1")
        if loaded is not None and not loaded.is_meta and bool(loaded) != self.value:
            block = prefix.removesuffix(f"{MARK}.").rstrip(".")
            raise UserError(
                f"these weights were made with stride_in_1x1={bool(loaded)} and the model has "
                f"stride_in_1x1={self.value} (at {block}); build the model with stride_in_1x1={bool(loaded)}"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"in_1x1={self.value}"


@dataclass(frozen=True)
class Block:
    """A residual block.

    Attributes:
        path: of the block in the model.
        module: the block.
        first: `conv1`.
        second: `conv2`, where the paper puts its operator (Fig. 2): the last 3x3 of a BasicBlock, the middle 3x3 of a
            Bottleneck, or the operator that has replaced it.
        bottleneck: whether it is a Bottleneck.
    """

    path: str
    module: nn.Module
    first: nn.Conv2d
    second: nn.Module
    bottleneck: bool


def stage_blocks(model: nn.Module, stages: Iterable[int]) -> Iterator[tuple[int, str, list[Block], list[str]]]:
    """`(stage, path, blocks, others)` of every module called `layer{stage - 1}`, in the order of the model.

    `others` describes the children that are not residual blocks. The stages may be inside another module, as in a
    detector.
    """
    names = {f"layer{stage - 1}": stage for stage in stages}
    for path, module in model.named_modules():
        name = path.rpartition(".")[2]
        if name not in names:
            continue
        blocks, others = [], []
        for child_name, child in module.named_children():
            block = _as_block(f"{path}.{child_name}", child)
            if block is None:
                others.append(f"{path}.{child_name} ({type(child).__name__})")
            else:
                blocks.append(block)
        yield names[name], path, blocks, others


def _as_block(path: str, module: nn.Module) -> Block | None:
    """`module` as a BasicBlock or Bottleneck, recognised by its convolutions and not by its class.

    torchvision, timm and this package have different classes with these names.
    """
    first, second = getattr(module, "conv1", None), getattr(module, "conv2", None)
    last = getattr(module, "conv3", None)
    if last is None and callable(getattr(first, "macs", None)) and isinstance(second, nn.Module):
        # `replace_every` has replaced both convolutions.
        return Block(path, module, cast(nn.Conv2d, first), second, bottleneck=False)
    if not isinstance(first, nn.Conv2d) or not isinstance(second, nn.Module):
        return None
    if last is None:
        return Block(path, module, first, second, bottleneck=False) if first.kernel_size == (3, 3) else None
    if not isinstance(last, nn.Conv2d) or first.kernel_size != (1, 1) or last.kernel_size != (1, 1):
        return None
    return Block(path, module, first, second, bottleneck=True)


def block_stride(block: Block, convolution: nn.Conv2d) -> tuple[int, bool]:
    """The stride of a bottleneck, and whether the first 1x1 has it.

    Raises:
        UserError: if height and width have different strides, or if both convolutions stride.
    """
    first, second = block.first.stride, convolution.stride
    if len({*first}) > 1 or len({*second}) > 1 or (first[0] > 1 and second[0] > 1):
        raise UserError(
            f"{block.path} has stride {first} in conv1 and {second} in conv2; "
            "expected one stride, the same in height and width"
        )
    return max(first[0], second[0]), first[0] > 1


def check_movable(block: Block, convolution: nn.Conv2d, in_1x1: bool) -> None:
    """Refuse a bottleneck whose stride is in neither convolution.

    timm's anti-aliased ResNets subsample by a blur after the 3x3 (`aa`), which cannot move into a 1x1.
    """
    blur = getattr(block.module, "aa", None)
    if in_1x1 and blur is not None and not isinstance(blur, nn.Identity):
        raise UserError(
            f"{block.path} subsamples in its anti-aliasing layer {type(blur).__name__}, which cannot move into the "
            "1x1; pass stride_in_1x1=None to leave it there"
        )
    block_stride(block, convolution)


def planned_stride(block: Block, convolution: nn.Conv2d, in_1x1: bool | None) -> int:
    """The stride that `conv2` has after `move_stride`."""
    if not block.bottleneck:
        return convolution.stride[0]
    stride, now = block_stride(block, convolution)
    return 1 if (now if in_1x1 is None else in_1x1) else stride


def move_stride(block: Block, convolution: nn.Conv2d, in_1x1: bool | None) -> None:
    """Move the stride of a bottleneck to where `in_1x1` says (None: leave it) and mark the block.

    A block without stride, or a BasicBlock, does not change. Moving keeps every size: the 1x1 without padding and the
    3x3 with padding 1 both give ceil(size / stride). A 1x1 works on each position alone, so it gives the same values at
    the positions that remain.
    """
    stride, now = block_stride(block, convolution)
    if not block.bottleneck or stride == 1:
        return
    first = now if in_1x1 is None else in_1x1
    block.first.stride = (stride, stride) if first else (1, 1)
    convolution.stride = (1, 1) if first else (stride, stride)
    block.module.add_module(MARK, StrideMark(first).to(convolution.weight.device))


def place_strides(model: nn.Module, in_1x1: bool) -> list[str]:
    """Move the stride of every bottleneck of `model`, in place, and return the paths of the blocks that have one.

    Use it for a model with random weights: its 3x3 convolutions see other inputs afterwards. For pretrained weights use
    `replace_operators`, which moves the stride of the replaced blocks only.

    Raises:
        UserError: for a block whose stride is in neither convolution.
    """
    bottlenecks = [
        (block, block.second)
        for _, _, blocks, _ in stage_blocks(model, STAGES)
        for block in blocks
        if block.bottleneck and isinstance(block.second, nn.Conv2d)
    ]
    for block, convolution in bottlenecks:
        check_movable(block, convolution, in_1x1)
    paths = []
    for block, convolution in bottlenecks:
        move_stride(block, convolution, in_1x1)
        if hasattr(block.module, MARK):
            paths.append(block.path)
    return paths
