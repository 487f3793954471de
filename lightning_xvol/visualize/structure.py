"""The structure of an operator or a residual block, from its modules: boxes in series and in parallel.

`structure` has one function for each class; any other module is one box. `structure.register` adds a function for a
class outside this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch

from torch import nn

from lightning_xvol.backbones.strides import Block
from lightning_xvol.kernels.spec import DIRECTIONS
from lightning_xvol.operators.aa_convolution import AAConvolution
from lightning_xvol.operators.convolution import Convolution
from lightning_xvol.operators.involution import Involution
from lightning_xvol.operators.multi_convolution import MultiConvolution
from lightning_xvol.operators.pssa import PSSA
from lightning_xvol.operators.self_attention import SelfAttention
from lightning_xvol.operators.xvolution import XVolution
from lightning_xvol.operators.xvolution_inv import XVolutionInv
from lightning_xvol.operators.xvolution_sa import XVolutionSA


@dataclass(frozen=True)
class Box:
    """One step.

    Attributes:
        text: what the step does.
        kind: convolution, norm, attention, operator or plain.
        module: the module of the step, if there is one.
    """

    text: str
    kind: str = "plain"
    module: nn.Module | None = None


@dataclass(frozen=True)
class Series:
    """Parts one after the other. A series without parts passes its input on."""

    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Branches:
    """Parts that share one input; `join` combines their outputs."""

    parts: tuple[Part, ...]
    join: str = "+"


Part = Box | Series | Branches


def boxes(part: Part) -> Iterator[Box]:
    """Every box, from input to output and from left to right."""
    if isinstance(part, Box):
        yield part
    else:
        for inner in part.parts:
            yield from boxes(inner)


def series(*parts: Part | None) -> Series:
    """`parts` one after the other, without those that are None."""
    return Series(tuple(part for part in parts if part is not None))


@singledispatch
def structure(module: nn.Module) -> Part:
    """The parts of `module`, from input to output."""
    return Box(type(module).__name__, "operator", module)


@structure.register
def _(module: nn.Conv2d) -> Part:
    size = "\N{MULTIPLICATION SIGN}".join(map(str, module.kernel_size))
    dilation = f"\ndilation {module.dilation[0]}" if module.dilation[0] > 1 else ""
    stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
    return Box(f"{size} conv, {module.out_channels}{stride}{dilation}", "convolution", module)


@structure.register
def _(module: nn.BatchNorm2d) -> Part:
    return Box("BN", "norm", module)


@structure.register
def _(module: Convolution) -> Part:
    return structure(module.conv)


@structure.register
def _(module: MultiConvolution) -> Part:
    if module.dilated_conv is None:
        return series(structure(module.conv), structure(module.norm))
    both = Branches((structure(module.conv), structure(module.dilated_conv)))
    return series(both, structure(module.norm))


@structure.register
def _(module: XVolution) -> Part:
    return Branches((structure(module.attention), structure(module.convolution)))


@structure.register(XVolutionSA)
@structure.register(XVolutionInv)
def _(module: XVolutionSA | XVolutionInv) -> Part:
    return Branches((series(structure(module.attention), structure(module.norm)), structure(module.convolution)))


@structure.register
def _(module: AAConvolution) -> Part:
    attention = structure(module.attention)
    return attention if module.conv is None else Branches((attention, structure(module.conv)), "concat")


@structure.register
def _(module: SelfAttention) -> Part:
    heads = f"{module.num_heads} heads" if module.num_heads > 1 else "1 head"
    weight = Box(f"softmax over all positions\n{heads}" if module.softmax else f"linear, {heads}", "attention")
    positions = None if module.positions is None else Box("+ relative positions", "attention", module.positions)
    product = Branches((_projection("Query", module.query), _projection("Key", module.key)), r"$\langle , \rangle$")
    output = None if module.output is None else structure(module.output)
    return series(
        Branches((series(product, positions, weight), _projection("Value", module.value)), "$\\times$"), output
    )


@structure.register
def _(module: Involution) -> Part:
    size = module.window.kernel_size
    average = Box("average of 2\N{MULTIPLICATION SIGN}2", "plain") if module.stride > 1 else None
    kernel = Box(
        f"kernel {size}\N{MULTIPLICATION SIGN}{size} per position,\n{module.groups} "
        f"group{'s' if module.groups > 1 else ''}", "attention",
    )  # fmt: skip
    reduced = (structure(module.reduce), structure(module.norm), Box("ReLU"), structure(module.span))
    value = Series() if module.initial is None else structure(module.initial)
    return Branches((series(average, *reduced, kernel), value), r"$\ast$")


@structure.register
def _(module: PSSA) -> Part:
    value = None if module.value is None else series(_projection("Value", module.value), shift(module))
    steps: Part
    if module.query is None or module.key is None:
        steps = series(value, weighting(module), Box(r"$\sum_j$", "attention"))
    else:
        query = _projection("Query", module.query, module.spec.normalize)
        key = series(_projection("Key", module.key, module.spec.normalize), shift(module))
        inner = module.form.weight == "head"
        product = Branches((query, key), r"$\langle , \rangle$" if inner else r"$\odot$")
        bias = None if module.tap_bias is None else Box(r"$+\ b_j$", "attention")
        weighted = series(product, bias, weighting(module))
        multiplied = weighted if value is None else Branches((weighted, value), "$\\times$")
        steps = series(multiplied, Box(r"$\sum_j$", "attention"))
    outer = None
    if module.propagation is not None:
        outer = Box("outer sum over $x_k$, 3\N{MULTIPLICATION SIGN}3", "attention")
    return series(steps, outer, structure(module.norm))


def _projection(name: str, conv: nn.Conv2d, normalised: bool = False) -> Part:
    remark = "\nnormalised per head" if normalised else ""
    stride = f", stride {conv.stride[0]}" if conv.stride[0] > 1 else ""
    return Box(f"{name} 1\N{MULTIPLICATION SIGN}1, {conv.out_channels}{stride}{remark}", "convolution", conv)


def shift(module: PSSA) -> Box:
    """The taps of a PSSA."""
    return Box(f"shift $S_j$:\n{len(DIRECTIONS)} directions, {_distances(module)}", "attention")


def _distances(module: PSSA) -> str:
    return f"L = {', '.join(map(str, module.spec.shift_distances))}" + (", and $x_0$" if module.spec.centre else "")


def weighting(module: PSSA) -> Box:
    """The weighting of the taps of a PSSA, before their sum."""
    taps, heads = len(module.spec.offsets), module.spec.num_heads
    if module.form.softmax:
        return Box(f"$+\\ w_j$, softmax over {taps} taps", "attention")
    span = {"head": f"{heads} head{'s' if heads > 1 else ''}", "channel": "every channel", "dense": "dense"}
    return Box(f"$\\times\\ w_j$: {taps} taps, {span[module.form.weight]}", "attention")


def outline(module: nn.Module) -> Part:
    """`structure`, but the attention branch of an operator with two branches is one box (Fig. 1)."""
    attention, convolution = getattr(module, "attention", None), getattr(module, "convolution", None)
    if attention is None or convolution is None:
        return structure(module)
    # PSSA has its own batch norm at its end. For other attention the operator has it.
    norm = getattr(attention if isinstance(attention, PSSA) else module, "norm", None)
    ends = None if norm is None else structure(norm)
    return Branches((series(brief(attention), ends), structure(convolution)))


@singledispatch
def brief(module: nn.Module) -> Box:
    """`module` as one box."""
    return Box(type(module).__name__, "attention", module)


@brief.register
def _(module: PSSA) -> Box:
    taps = f"{len(DIRECTIONS)} directions,\n{_distances(module)}: {len(module.spec.offsets)} taps"
    return Box(f"PSSA, {module.out_channels}\n{taps}", "attention", module)


@brief.register
def _(module: SelfAttention) -> Box:
    return Box(f"self-attention, {module.value.out_channels}\nall positions", "attention", module)


@brief.register
def _(module: Involution) -> Box:
    size = module.window.kernel_size
    return Box(f"involution {size}\N{MULTIPLICATION SIGN}{size}, {module.out_channels}", "attention", module)


def block_structure(block: Block, operator: str | None) -> Part:
    """A residual block. `operator` is the name of its operator, or None for a convolution of the plain network."""
    module = block.module
    second = structure(block.second) if operator is None else _operator(block.second, operator)
    inside: list[Part | None] = [
        structure(block.first),
        _child(module, "bn1"),
        Box("ReLU"),
        second,
        _child(module, "bn2"),
    ]
    if block.bottleneck:
        inside += [Box("ReLU"), _child(module, "conv3"), _child(module, "bn3")]
    shortcut = getattr(module, "downsample", None)
    identity = Series() if shortcut is None else series(*(structure(part) for part in shortcut))
    return series(Branches((series(*inside), identity)), Box("ReLU"))


def _operator(module: nn.Module, name: str) -> Box:
    channels = getattr(module, "out_channels", None)
    return Box(name if channels is None else f"{name}, {channels}", "operator", module)


def _child(module: nn.Module, name: str) -> Part | None:
    child = getattr(module, name, None)
    return None if child is None else structure(child)
