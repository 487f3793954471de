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
from lightning_xvol.operators import checks
from lightning_xvol.operators.marks import read_mark, write_mark
from lightning_xvol.operators.settings import padding_of, pair

STAGES = (2, 3, 4, 5)
"""stage2..stage5 are conv2_x..conv5_x of the paper's Table 5, `layer1`..`layer4` of torchvision and timm."""

MARK = "stride_mark"


class StrideMark(nn.Module):
    """Stores in the state dict whether its bottleneck strides in the first 1x1; loading the other value raises."""

    in_1x1: torch.Tensor

    def __init__(self, in_1x1: bool, device: torch.device) -> None:
        super().__init__()
        self.value = in_1x1
        with torch.inference_mode(False):  # no weights can be loaded into an inference tensor
            self.register_buffer("in_1x1", torch.tensor(int(in_1x1), device=device))

    def reset_parameters(self) -> None:
        """Write the mark again (`operators/marks.py`)."""
        write_mark(self.in_1x1, int(self.value))

    def _apply(self, *args: Any, **options: Any) -> StrideMark:
        super()._apply(*args, **options)
        self.reset_parameters()
        return self

    def _save_to_state_dict(self, *args: Any) -> None:
        self.reset_parameters()
        super()._save_to_state_dict(*args)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        loaded = read_mark(state_dict, f"{prefix}in_1x1", (0, 1), int(self.value))
        if loaded is not None and bool(loaded) != self.value:
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
    detector. Wrappers around a stage or a block, such as those of `torch.compile` and of activation checkpointing, are
    looked through.
    """
    names = {f"layer{stage - 1}": stage for stage in stages}
    for path, module in model.named_modules():
        name = path.rpartition(".")[2]
        if name not in names:
            continue
        path, module = _unwrapped(path, module)
        blocks, others = [], []
        for child_name, child in module.named_children():
            block = _block_in(f"{path}.{child_name}", child)
            if block is None:
                others.append(f"{path}.{child_name} ({type(child).__name__})")
            else:
                blocks.append(block)
        yield names[name], path, blocks, others


def _unwrapped(path: str, stage: nn.Module) -> tuple[str, nn.Module]:
    """The innermost of the modules around the blocks of a stage. A module with a block among its children is one."""
    while len(stage._modules) == 1:
        [(name, child)] = stage.named_children()
        if _block_in(f"{path}.{name}", child) is not None or not child._modules:
            break
        path, stage = f"{path}.{name}", child
    return path, stage


def _block_in(path: str, module: nn.Module) -> Block | None:
    """The block that `module` is or wraps. A wrapper has a single child."""
    block = _as_block(path, module)
    while block is None and len(module._modules) == 1:
        children = list(module.named_children())
        if not children:
            break
        path, module = f"{path}.{children[0][0]}", children[0][1]
        block = _as_block(path, module)
    return block


def _as_block(path: str, module: nn.Module) -> Block | None:
    """`module` as a BasicBlock or Bottleneck, recognised by its convolutions and not by its class.

    torchvision, timm and this package have different classes with these names.
    """
    # Registered children alone: a wrapper lends the attributes of the block inside it, but does not hold its modules.
    first, second, last = (module._modules.get(name) for name in ("conv1", "conv2", "conv3"))
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
    first, second = pair(block.first.stride), pair(convolution.stride)
    if len({*first}) > 1 or len({*second}) > 1 or (first[0] > 1 and second[0] > 1):
        raise UserError(
            f"{block.path} has stride {first} in conv1 and {second} in conv2; "
            "expected one stride, the same in height and width"
        )
    return max(first[0], second[0]), first[0] > 1


@dataclass(frozen=True)
class Strides:
    """The strides of a bottleneck after its stride has moved, and the value of its mark."""

    first: int
    second: int
    in_1x1: bool


def plan_strides(block: Block, convolution: nn.Conv2d, in_1x1: bool | None) -> Strides | None:
    """Where the stride of a bottleneck goes; None for a block that keeps its strides and gets no mark.

    Nothing changes here. A BasicBlock and a block without a stride keep theirs. With `in_1x1=None` so does a bottleneck
    whose stride could not move, for example one that strides in both convolutions.

    Raises:
        UserError: for a stride that cannot move.
    """
    if not block.bottleneck:
        return None
    blur = getattr(block.module, "aa", None)
    if in_1x1 and blur is not None and not isinstance(blur, nn.Identity):
        # timm's anti-aliased ResNets subsample by a blur after the 3x3.
        raise UserError(
            f"{block.path} subsamples in its anti-aliasing layer {type(blur).__name__}, which cannot move into the "
            "1x1; pass stride_in_1x1=None, or set backbone.stride_in_1x1=false, to leave it there"
        )
    first, second = pair(block.first.stride), pair(convolution.stride)
    if in_1x1 is None and len({*second}) == 1 and (len({*first}) > 1 or (first[0] > 1 and second[0] > 1)):
        return None
    stride, now = block_stride(block, convolution)
    if stride == 1:
        return None
    chosen = now if in_1x1 is None else in_1x1
    if chosen != now and padding_of(block.first) != (0, 0):
        raise UserError(
            f"{block.path}.conv1 has padding={block.first.padding}, so a stride that moves changes the size of the "
            "map; pass stride_in_1x1=None to leave it where it is"
        )
    if hasattr(block.module, MARK) and MARK not in block.module._modules:
        raise UserError(f"{block.path} has an attribute {MARK!r}, which is the name of our mark; rename it")
    return Strides(*((stride, 1) if chosen else (1, stride)), in_1x1=chosen)


def move_stride(block: Block, strides: Strides, device: torch.device) -> None:
    """Give the first 1x1 its stride and mark the block. This never fails. The caller sees to `conv2`.

    Moving keeps every size: the 1x1 without padding and the 3x3 with padding 1 both give ceil(size / stride). A 1x1
    works on each position alone, so it gives the same values at the positions that remain.
    """
    block.first.stride = (strides.first, strides.first)
    block.module._modules[MARK] = StrideMark(strides.in_1x1, device).train(block.module.training)


def place_strides(model: nn.Module, in_1x1: bool) -> list[str]:
    """Move the stride of every bottleneck of `model`, in place, and return the paths of the blocks that have one.

    Use it for a model with random weights: its 3x3 convolutions see other inputs afterwards. For pretrained weights use
    `replace_operators`, which moves the stride of the replaced blocks only.

    Raises:
        UserError: for a block whose stride is in neither convolution, or an `in_1x1` that is no bool. Then nothing has
            moved.
    """
    checks.boolean("in_1x1", in_1x1)
    planned = [
        (block, block.second, plan_strides(block, block.second, in_1x1))
        for _, _, blocks, _ in stage_blocks(model, STAGES)
        for block in blocks
        if block.bottleneck and isinstance(block.second, nn.Conv2d)
    ]
    for block, convolution, strides in planned:
        if strides is not None:
            move_stride(block, strides, convolution.weight.device)
            convolution.stride = (strides.second, strides.second)
    return [block.path for block, _, _ in planned if MARK in block.module._modules]
