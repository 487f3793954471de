"""`fuse`: find every operator of a model and put its atomic form in its place."""

from __future__ import annotations

import copy
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

# Blocks in whose forward `bn2` stands directly behind `conv2`. Others may have the same names in another order.
BLOCKS = (
    "lightning_xvol.backbones.small_resnet.Bottleneck",
    "torchvision.models.resnet.BasicBlock",
    "torchvision.models.resnet.Bottleneck",
    "timm.models.resnet.BasicBlock",
    "timm.models.resnet.Bottleneck",
)


@dataclass(frozen=True)
class Place:
    """An operator in a model. The root has no parent."""

    path: str
    operator: nn.Module
    parent: nn.Module | None

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


def fuse(model: nn.Module, *, block_norms: bool = False) -> nn.Module:
    """An eval-mode copy of `model` with an `AtomicXVolution` in the place of every operator that can be one.

    Batch norms are folded, in float64, parallel kernels are merged where that adds no taps, projections of one grid are
    stacked. The model itself, and everything in the copy that is no operator, stays as it is; a folded parameter
    requires a gradient where something that went into it does. Fusing what is fused already changes nothing.

    Args:
        model: in eval mode: a network, a detector, or an operator.
        block_norms: fold also the batch norm that follows the operator in its residual block (`bn2`), and leave
            `nn.Identity` there.

    Raises:
        UserError: for a model in training mode, without an operator to fuse, or with one whose structure is not known.

    Example:
        >>> fused = fuse(replaced.eval())  # equal outputs, up to rounding: fusion_report(replaced, images)
    """
    _check_eval(model)
    fused = copy.deepcopy(model)
    places = fusible(fused, block_norms)
    if block_norms:
        _check_shared(places)
    with torch.inference_mode(False), torch.enable_grad():
        # Everything is folded before anything is replaced: an operator in two places stays one.
        made = {id(place.operator): _fold(place, block_norms) for place in places}
    for place in places:
        atomic = made[id(place.operator)]
        if place.parent is None:
            return atomic
        setattr(place.parent, place.name, atomic)
        if atomic.block_norm:
            place.parent.bn2 = nn.Identity()
    return fused.eval()


def fusible(model: nn.Module, block_norms: bool) -> list[Place]:
    """The operators that `fuse` replaces, in the order of the model; empty where all are fused already.

    Raises:
        UserError: where there is none at all, or one that it cannot fold.
    """
    known = list(_operators(model))
    if not known:
        names = ", ".join(kind.__name__ for kind in FOLDS if kind is not AtomicXVolution)
        raise UserError(f"{type(model).__name__} holds no operator to fuse; known are {names}")
    places = []
    for place in known:
        if _has_work(place, block_norms):
            check_structure(place.operator, place.path)
            places.append(place)
    if not places and not any(isinstance(place.operator, AtomicXVolution) for place in known):
        raise UserError(
            f"nothing to fuse in {type(model).__name__}: a {type(known[0].operator).__name__} is one kernel already"
            + ("" if block_norms else "; block_norms=True folds the batch norm that follows it in its block")
        )
    return places


def _operators(model: nn.Module, path: str = "", parent: nn.Module | None = None) -> Iterator[Place]:
    """Every operator at or below `model` that may fold. `KEPT` stay, as do foreign ones that have no batch norm."""
    if type(model) in FOLDS:
        yield Place(path, model, parent)
        return
    if type(model) in KEPT:
        return
    known = next((kind for kind in FOLDS if isinstance(model, kind)), None)
    norms = any(isinstance(module, _BatchNorm) or type_name(module) in NORMS for module in model.modules())
    if known is not None or (norms and (isinstance(model, Operator) or callable(getattr(model, "macs", None)))):
        what = "an operator with a batch norm inside" if known is None else f"a subclass of {known.__name__}"
        raise UserError(
            f"cannot fuse {path or 'the model'}: {type_name(model)} is {what}, and how it folds is not known; "
            "lightning_xvol.fusion.folds.FOLDS takes a fold for it"
        )
    for name, child in model._modules.items():
        if child is not None:
            yield from _operators(child, f"{path}.{name}" if path else name, model)


def _has_work(place: Place, block_norms: bool) -> bool:
    return FOLDS[type(place.operator)].alone or (block_norms and _block_norm(place) is not None)


def _block_norm(place: Place) -> nn.Module | None:
    """The batch norm that follows an operator in its residual block; None where there is no block or it is gone."""
    if place.parent is None:
        return None
    if type_name(place.parent) not in BLOCKS or place.name != "conv2":
        raise UserError(
            f"block_norms=True: cannot tell which batch norm follows {place.path} in a {type_name(place.parent)}; "
            f"known are conv2 and bn2 of {', '.join(BLOCKS)}"
        )
    norm = place.parent.get_submodule("bn2")
    return None if isinstance(norm, nn.Identity) else norm


def _fold(place: Place, block_norms: bool) -> AtomicXVolution:
    operator: Any = place.operator
    norm = _block_norm(place) if block_norms else None
    try:
        parts = FOLDS[type(operator)].parts(operator)
        parts = parts if norm is None else parts.normed(norm)
    except UserError as error:
        raise UserError(f"{place.path or type(operator).__name__}: {error}") from error
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


def _check_shared(places: list[Place]) -> None:
    """Two blocks that share an operator have a batch norm each, which cannot both go into it."""
    paths: dict[int, str] = {}
    for place in places:
        first = paths.setdefault(id(place.operator), place.path)
        if first != place.path:
            raise UserError(f"block_norms=True: {first} and {place.path} are one operator before two batch norms")
