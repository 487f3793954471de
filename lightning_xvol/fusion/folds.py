"""How each operator folds: one small function per operator, and the table `FOLDS` of these functions.

A fold reads an operator in eval mode and returns its `Parts` in float64. `Parts.normed` folds a batch norm and `+`
adds a branch, so a fold repeats the operator's formula.

For your own operator set `FOLDS[YourClass] = Fold(function, children)`. Without it `fuse` refuses an operator that
holds a batch norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from lightning_xvol.errors import UserError
from lightning_xvol.fusion.atomic import AtomicXVolution
from lightning_xvol.fusion.attention_term import AttentionTerm, AugmentedTerm
from lightning_xvol.fusion.depthwise_term import DepthwiseTerm
from lightning_xvol.fusion.involution_term import InvolutionTerm
from lightning_xvol.fusion.parts import NORMS, Parts, affine, exact, type_name
from lightning_xvol.fusion.pssa_term import PSSATerm
from lightning_xvol.fusion.static import Static, rows
from lightning_xvol.fusion.term import Projections
from lightning_xvol.kernels.spec import Window
from lightning_xvol.operators.aa_convolution import AAConvolution
from lightning_xvol.operators.convolution import Convolution
from lightning_xvol.operators.involution import Involution
from lightning_xvol.operators.multi_convolution import MultiConvolution
from lightning_xvol.operators.paired_convolution import PairedConvolution
from lightning_xvol.operators.pssa import PSSA
from lightning_xvol.operators.relative_positions import RelativePositions
from lightning_xvol.operators.se_convolution import SEConvolution
from lightning_xvol.operators.self_attention import SelfAttention
from lightning_xvol.operators.settings import SETTINGS, additions
from lightning_xvol.operators.spatial import SpatialConv2d
from lightning_xvol.operators.wide_convolution import WideConvolution
from lightning_xvol.operators.xvolution import XVolution
from lightning_xvol.operators.xvolution_inv import XVolutionInv
from lightning_xvol.operators.xvolution_pointwise import XVolutionPointwise
from lightning_xvol.operators.xvolution_sa import XVolutionSA


@dataclass(frozen=True)
class Fold:
    """How an operator folds.

    Attributes:
        parts: the function that folds it.
        children: the names of the children that this function accounts for. `fuse` refuses an operator with others.
        alone: whether there is something to fold without the batch norm of its block.
        biases: the names of the children that have a bias.
    """

    parts: Callable[[Any], Parts]
    children: tuple[str, ...]
    alone: bool = True
    biases: tuple[str, ...] = ()


def convolution(operator: Convolution) -> Parts:
    """`W x`. Only the batch norm of its block can fold."""
    return Parts(statics=(_static(operator.conv, operator.stride),))


def multi_convolution(operator: MultiConvolution) -> Parts:
    """`BN(W x + W' x)`."""
    convs = [conv for conv in (operator.conv, operator.dilated_conv) if conv is not None]
    return Parts(statics=tuple(_static(conv, operator.stride) for conv in convs)).normed(operator.norm)


def pssa(operator: PSSA) -> Parts:
    """`BN(taps of q, k, v)`. `PSSATerm.scaled` says which tensor takes the scale."""
    tensors = {"tap_weight": operator.tap_weight, "tap_bias": operator.tap_bias, "propagation": operator.propagation}
    projections = {"query": operator.query, "key": operator.key, "value": operator.value}
    present = {name: _weight(conv) for name, conv in projections.items() if conv is not None}
    stacked = Projections.of(present, operator.spec.stride)
    propagate = operator.propagation is not None
    term = PSSATerm(operator.spec, operator.out_channels, stacked, operator.stride, propagate)
    present |= {name: exact(tensor) for name, tensor in tensors.items() if tensor is not None}
    return Parts(term=term, tensors=present).normed(operator.norm)


def self_attention(operator: SelfAttention) -> Parts:
    """It has no batch norm. Its projections get stacked."""
    convs = {"query": operator.query, "key": operator.key, "value": operator.value, "output": operator.output}
    tensors = {name: _weight(conv) for name, conv in convs.items() if conv is not None}
    if operator.positions is not None:
        tensors |= {"rows": exact(operator.positions.rows), "columns": exact(operator.positions.columns)}
    return Parts(
        term=AttentionTerm(
            Projections.of(tensors, operator.stride), operator.num_heads, operator.stride, operator.softmax
        ),
        tensors=tensors,
    )


def aa_convolution(operator: AAConvolution) -> Parts:
    """The channels of a convolution, then those of the attention. Neither has a batch norm."""
    parts = self_attention(operator.attention)
    if operator.conv is None or not isinstance(parts.term, AttentionTerm):
        return parts
    term = AugmentedTerm(parts.term.projections, parts.term.num_heads, parts.term.stride)
    return Parts(term=term, tensors={**parts.tensors, "convolution": _weight(operator.conv)})


def involution(operator: Involution) -> Parts:
    """`[W x]` under kernels `W_1 ReLU(BN(W_0 x_0)) + b`: the batch norm goes into W_0."""
    scale, shift = affine(operator.norm)
    tensors = {
        "reduce": rows(_weight(operator.reduce), scale),
        "reduce_bias": shift,
        "span": _weight(operator.span),
        "span_bias": exact(operator.span.bias),  # type: ignore[arg-type]
    }
    if operator.initial is not None:
        tensors["initial"] = _weight(operator.initial)
    return Parts(term=InvolutionTerm(operator.window, operator.groups), tensors=tensors)


def xvolution(operator: XVolution) -> Parts:
    """The sum of its branches. The attention branch ends in the batch norm of `pssa`."""
    return multi_convolution(operator.convolution) + pssa(operator.attention)


def xvolution_sa(operator: XVolutionSA) -> Parts:
    """The sum of its branches."""
    return multi_convolution(operator.convolution) + self_attention(operator.attention).normed(operator.norm)


def xvolution_inv(operator: XVolutionInv) -> Parts:
    """The sum of its branches."""
    return multi_convolution(operator.convolution) + involution(operator.attention).normed(operator.norm)


def paired_convolution(operator: PairedConvolution) -> Parts:
    """The sum of its branches. A depthwise kernel and its 1x1 stay two steps, since one kernel would be slower."""
    if operator.depthwise is None:
        second = Parts(statics=(_static(operator.pointwise, operator.stride),))
    else:
        tensors = {"pointwise": _weight(operator.pointwise), "depthwise": _weight(operator.depthwise)}
        size = operator.depthwise.kernel_size[0]
        second = Parts(term=DepthwiseTerm(Window(size, operator.stride)), tensors=tensors)
    return multi_convolution(operator.convolution) + second.normed(operator.norm)


FOLDS: dict[type[nn.Module], Fold] = {
    AtomicXVolution: Fold(AtomicXVolution.parts, (), alone=False),
    Convolution: Fold(convolution, ("conv",), alone=False),
    MultiConvolution: Fold(multi_convolution, ("conv", "dilated_conv", "norm")),
    PSSA: Fold(pssa, ("query", "key", "value", "norm")),
    SelfAttention: Fold(self_attention, ("query", "key", "value", "positions", "output")),
    AAConvolution: Fold(aa_convolution, ("conv", "attention")),
    Involution: Fold(involution, ("initial", "reduce", "norm", "span"), biases=("span",)),
    XVolution: Fold(xvolution, ("convolution", "attention")),
    XVolutionSA: Fold(xvolution_sa, ("convolution", "attention", "norm")),
    XVolutionInv: Fold(xvolution_inv, ("convolution", "attention", "norm")),
    PairedConvolution: Fold(paired_convolution, ("convolution", "pointwise", "depthwise", "norm")),
}

KEPT: tuple[type[nn.Module], ...] = (SEConvolution, WideConvolution, XVolutionPointwise)
"""Controls with a nonlinearity between their convolutions. They have no atomic form of Eq. 9, so `fuse` leaves them."""


def check_structure(operator: nn.Module, path: str) -> None:
    """Refuse an operator that holds something its fold does not expect. Fusing it would change its output.

    Raises:
        UserError: with the name of the unexpected module, hook or setting.
    """
    where = path or type(operator).__name__
    _check_untouched(operator, where)
    unknown = [name for name, _ in operator.named_children() if name not in FOLDS[type(operator)].children]
    if unknown:
        raise UserError(
            f"cannot fuse {where}: it holds {', '.join(unknown)}, which a {type(operator).__name__} does not have; "
            "remove what was added"
        )
    for name, child in operator.named_children():
        if type(child) in FOLDS:
            check_structure(child, f"{where}.{name}")
        elif type(child) in (nn.Conv2d, SpatialConv2d):
            _check_untouched(child, f"{where}.{name}")
            if child.bias is not None and name not in FOLDS[type(operator)].biases:
                raise UserError(f"cannot fuse {where}: its {name} has a bias, which the operator does not have")
        elif type_name(child) in NORMS or type(child) is RelativePositions:
            _check_untouched(child, f"{where}.{name}")
        elif not isinstance(child, nn.modules.batchnorm._BatchNorm):  # `affine` has the better message for these
            raise UserError(
                f"cannot fuse {where}: its {name} is a {type_name(child)}, which the operator does not have; "
                "put the original back"
            )


def _check_untouched(module: nn.Module, where: str) -> None:
    """Refuse hooks, parametrizations and a replaced `forward`. They change the output and would be lost."""
    added = additions(module)
    if added is not None:
        raise UserError(f"cannot fuse {where}: it has {added}, which would be lost; remove them first")


def _static(conv: nn.Conv2d, stride: int) -> Static:
    """The kernel of a padded convolution, if its settings are still those that the operator gave it."""
    static = Static(_weight(conv), conv.dilation[0])
    size, reach = len(static.steps), static.steps[-1]
    expected = nn.Conv2d(conv.in_channels, conv.out_channels, size, stride, reach, conv.dilation[0], device="meta")
    if any(getattr(conv, name) != getattr(expected, name) for name in SETTINGS):
        raise UserError(f"{conv} is not the {size}x{size} of stride {stride} that the operator was built with")
    return static


def _weight(conv: nn.Conv2d) -> Tensor:
    return exact(conv.weight)
