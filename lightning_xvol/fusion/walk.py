"""`fuse`: find every operator of a model and replace it by its atomic form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_xvol.errors import UserError
from lightning_xvol.fusion.atomic import AtomicXVolution
from lightning_xvol.fusion.folds import FOLDS, KEPT, check_structure
from lightning_xvol.fusion.parts import NORMS, type_name
from lightning_xvol.operators.base import Operator
from lightning_xvol.operators.copying import copied

# Blocks whose `forward` calls `bn2` directly after `conv2`. Other blocks may use these names in another order.
BLOCKS = (
    "lightning_xvol.backbones.small_resnet.Bottleneck",
    "torchvision.models.resnet.BasicBlock",
    "torchvision.models.resnet.Bottleneck",
    "timm.models.resnet.BasicBlock",
    "timm.models.resnet.Bottleneck",
)


@dataclass(frozen=True)
class FoundOperator:
    """An operator that a model holds.

    Attributes:
        path: where it is, as in `named_modules`.
        operator: the operator itself.
        parent: the module that holds it, or None where the model is the operator.
    """

    path: str
    operator: nn.Module
    parent: nn.Module | None

    @property
    def name(self) -> str:
        """Its attribute in the parent."""
        return self.path.rpartition(".")[2]


def fuse(model: nn.Module, *, block_norms: bool = False) -> nn.Module:
    """A copy of `model` in eval mode in which every operator that can be fused is an `AtomicXVolution`.

    Batch norms are folded in float64, parallel kernels are merged where that adds no taps, and projections on one grid
    are stacked. The model itself does not change, and neither does anything in the copy that is not an operator. A
    folded parameter requires a gradient where something that went into it does. Fusing a fused model changes nothing.

    Args:
        model: a network, a detector or an operator, in eval mode.
        block_norms: whether to fold also the batch norm that follows the operator in its residual block (`bn2`).
            `nn.Identity` takes its place.

    Raises:
        UserError: for a model in training mode, a model without an operator to fuse, or an operator whose structure is
            not known.

    Examples:
        >>> fused = fuse(replaced.eval())  # equal outputs, up to rounding: fusion_report(replaced, images)
    """
    _check_eval(model)
    fusible(model, block_norms)
    # In inference mode the copy would be of tensors that can neither be trained nor saved with a version.
    with torch.inference_mode(False), torch.enable_grad():
        fused = copied(model)
        operators = fusible(fused, block_norms)
        if block_norms:
            _check_shared(operators)
        # Everything is folded before anything is replaced, so that an operator used twice stays one operator.
        made = {id(found.operator): _fold(found, block_norms) for found in operators}
    for found in operators:
        atomic = made[id(found.operator)]
        if found.parent is None:
            return atomic
        setattr(found.parent, found.name, atomic)
        if atomic.block_norm:
            found.parent.bn2 = nn.Identity()
    return fused.eval()


def fusible(model: nn.Module, block_norms: bool) -> list[FoundOperator]:
    """The operators that `fuse` replaces, in the order of the model. Empty where all of them are fused already.

    Raises:
        UserError: where the model holds no operator, or one that cannot be folded.
    """
    known = list(_operators(model))
    if not known:
        names = ", ".join(kind.__name__ for kind in FOLDS if kind is not AtomicXVolution)
        raise UserError(f"{type(model).__name__} holds no operator to fuse; known are {names}")
    operators = [found for found in known if _has_work(found, block_norms)]
    for found in operators:
        check_structure(found.operator, found.path)
    if not operators and not any(isinstance(found.operator, AtomicXVolution) for found in known):
        raise UserError(
            f"nothing to fuse in {type(model).__name__}: a {type(known[0].operator).__name__} is one kernel already"
            + ("" if block_norms else "; block_norms=True folds the batch norm that follows it in its block")
        )
    return operators


def _operators(model: nn.Module, path: str = "", parent: nn.Module | None = None) -> Iterator[FoundOperator]:
    """Every operator in `model` that may fold. Those in `KEPT` stay, and so do unknown ones without a batch norm."""
    if type(model) in FOLDS:
        yield FoundOperator(path, model, parent)
        return
    if type(model) in KEPT:
        return
    known = next((kind for kind in FOLDS if isinstance(model, kind)), None)
    norms = any(isinstance(module, _BatchNorm) or type_name(module) in NORMS for module in model.modules())
    if known is not None or (norms and (isinstance(model, Operator) or callable(getattr(model, "macs", None)))):
        what = "an operator with a batch norm inside" if known is None else f"a subclass of {known.__name__}"
        raise UserError(
            f"cannot fuse {path or 'the model'}: {type_name(model)} is {what}, and how it folds is not known; "
            "add a fold for it to lightning_xvol.fusion.folds.FOLDS"
        )
    for name, child in model._modules.items():
        if child is not None:
            yield from _operators(child, f"{path}.{name}" if path else name, model)


def _has_work(found: FoundOperator, block_norms: bool) -> bool:
    return FOLDS[type(found.operator)].alone or (block_norms and _block_norm(found) is not None)


def _block_norm(found: FoundOperator) -> nn.Module | None:
    """The batch norm that follows an operator in its residual block. None without a block or a batch norm."""
    if found.parent is None:
        return None
    if type_name(found.parent) not in BLOCKS or found.name != "conv2":
        raise UserError(
            f"block_norms=True: cannot tell which batch norm follows {found.path} in a {type_name(found.parent)}; "
            f"known are conv2 and bn2 of {', '.join(BLOCKS)}"
        )
    norm = found.parent.get_submodule("bn2")
    return None if isinstance(norm, nn.Identity) else norm


def _fold(found: FoundOperator, block_norms: bool) -> AtomicXVolution:
    operator: Any = found.operator
    norm = _block_norm(found) if block_norms else None
    try:
        parts = FOLDS[type(operator)].parts(operator)
        parts = parts if norm is None else parts.normed(norm)
    except UserError as error:
        raise UserError(f"{found.path or type(operator).__name__}: {error}") from error
    atomic = AtomicXVolution(
        operator.in_channels,
        operator.out_channels,
        parts.simplified(),
        stride=operator.stride,
        block_norm=norm is not None,
    )
    weights = list(operator.parameters())
    atomic.to(device=weights[0].device, dtype=weights[0].dtype)
    if any(weight.dim() == 4 and not weight.is_contiguous() for weight in weights):
        atomic.to(memory_format=torch.channels_last)
    return atomic.eval()


def _check_eval(model: nn.Module) -> None:
    training = next((path for path, module in model.named_modules() if module.training), None)
    if training is not None:
        where = f"its {training}" if training else type(model).__name__
        raise UserError(
            f"{where} is in training mode, and fusing folds the running statistics of batch norms: call model.eval() "
            "first, and go on training the model, not its fused copy"
        )


def _check_shared(operators: list[FoundOperator]) -> None:
    """Refuse two blocks that share an operator: each has its own batch norm, and only one could be folded."""
    paths: dict[int, str] = {}
    for found in operators:
        first = paths.setdefault(id(found.operator), found.path)
        if first != found.path:
            raise UserError(f"block_norms=True: {first} and {found.path} are the same operator before two batch norms")
