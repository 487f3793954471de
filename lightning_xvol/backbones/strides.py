"""The blocks of a ResNet and where a bottleneck has its stride: in the first 1x1 or in the 3x3.

The paper's operator has stride 1 (6.1.2), which in the first bottleneck of a stage means that the 1x1 before it
strides, as in Detectron2's default. torchvision and timm stride in the 3x3. The shapes of the weights are the same
either way, so the weights carry the position: a `StrideMark` stands on every block that this package has touched and
that has a stride.
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
    """Carries in the state dict whether its bottleneck strides in the first 1x1; loading the other value raises.

    A buffer, not metadata of the state dict: it survives every way of storing weights, safetensors included.
    """

    in_1x1: torch.Tensor

    def __init__(self, in_1x1: bool) -> None:
        super().__init__()
        # The plain value beside the buffer answers on the meta device too.
        self.value = in_1x1
        # Whole numbers, like a batch norm's counter: averaged weights subtract buffers, which bool refuses.
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
    """A residual block, with the 3x3 where the paper puts its operator (Fig. 2).

    That is `conv2` in both kinds: the last 3x3 of a BasicBlock, the middle 3x3 of a Bottleneck.
    """

    path: str
    module: nn.Module
    first: nn.Conv2d
    place: nn.Module
    bottleneck: bool


def stage_blocks(model: nn.Module, stages: Iterable[int]) -> Iterator[tuple[int, str, list[Block], list[str]]]:
    """`(stage, path, blocks, others)` of every module called `layer{stage - 1}`, in the order of the model.

    `others` describes the children that are no residual block. The stages may lie inside another module, as in a
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

    torchvision, timm and this package each have classes of their own with these names.
    """
    first, place = getattr(module, "conv1", None), getattr(module, "conv2", None)
    last = getattr(module, "conv3", None)
    if last is None and callable(getattr(first, "macs", None)) and isinstance(place, nn.Module):
        # Every convolution is an operator by now.
        return Block(path, module, cast(nn.Conv2d, first), place, bottleneck=False)
    if not isinstance(first, nn.Conv2d) or not isinstance(place, nn.Module):
        return None
    if last is None:
        return Block(path, module, first, place, bottleneck=False) if first.kernel_size == (3, 3) else None
    if not isinstance(last, nn.Conv2d) or first.kernel_size != (1, 1) or last.kernel_size != (1, 1):
        return None
    return Block(path, module, first, place, bottleneck=True)


def block_stride(block: Block, convolution: nn.Conv2d) -> tuple[int, bool]:
    """The stride of a bottleneck, and whether the first 1x1 has it.

    Raises:
        UserError: where height and width differ, or where both convolutions stride.
    """
    first, place = block.first.stride, convolution.stride
    if len({*first}) > 1 or len({*place}) > 1 or (first[0] > 1 and place[0] > 1):
        raise UserError(
            f"{block.path} has stride {first} in conv1 and {place} in conv2; "
            "expected one stride, the same in height and width"
        )
    return max(first[0], place[0]), first[0] > 1


def check_movable(block: Block, convolution: nn.Conv2d, in_1x1: bool) -> None:
    """Refuse a bottleneck whose stride lies in neither convolution.

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
    """The stride that the 3x3's place has once `move_stride` has run."""
    if not block.bottleneck:
        return convolution.stride[0]
    stride, now = block_stride(block, convolution)
    return 1 if (now if in_1x1 is None else in_1x1) else stride


def move_stride(block: Block, convolution: nn.Conv2d, in_1x1: bool | None) -> None:
    """Put the stride of a bottleneck where `in_1x1` says (None: leave it) and mark the block.

    A block without stride, or a BasicBlock, stays as it is. Moving keeps every size: the 1x1 without padding and the
    3x3 with padding 1 both give ceil(size / stride). A 1x1 works on each position alone, so it gives the same values
    at the positions that are left.
    """
    stride, now = block_stride(block, convolution)
    if not block.bottleneck or stride == 1:
        return
    there = now if in_1x1 is None else in_1x1
    block.first.stride = (stride, stride) if there else (1, 1)
    convolution.stride = (1, 1) if there else (stride, stride)
    block.module.add_module(MARK, StrideMark(there).to(convolution.weight.device))


def place_strides(model: nn.Module, in_1x1: bool) -> list[str]:
    """Move the stride of every bottleneck of `model`, in place, and return the paths of the blocks that have one.

    This is for a model that is trained from here on: its 3x3 convolutions see other inputs afterwards. For pretrained
    weights there is `replace_operators`, which moves the stride of the replaced blocks alone.

    Raises:
        UserError: where a block's stride lies in neither place.
    """
    bottlenecks = [
        (block, block.place)
        for _, _, blocks, _ in stage_blocks(model, STAGES)
        for block in blocks
        if block.bottleneck and isinstance(block.place, nn.Conv2d)
    ]
    for block, convolution in bottlenecks:
        check_movable(block, convolution, in_1x1)
    paths = []
    for block, convolution in bottlenecks:
        move_stride(block, convolution, in_1x1)
        if hasattr(block.module, MARK):
            paths.append(block.path)
    return paths
