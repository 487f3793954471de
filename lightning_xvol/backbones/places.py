"""The places of a model where an operator takes over from a convolution: what is checked, built and put in.

Nothing here changes a model but `put_in`, which cannot fail.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from lightning_xvol.errors import UserError
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.settings import additions, padding_of, pair, parameter_hooks
from lightning_xvol.operators.spatial import SpatialConv2d

WRAPPERS = ("DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Place:
    """A convolution to replace.

    Attributes:
        path: of the convolution in the model.
        parent: the module that holds it.
        convolution: the convolution itself.
        stride: the stride that the operator gets, in height and width.
    """

    path: str
    parent: nn.Module
    convolution: nn.Conv2d
    stride: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its name in the parent."""
        return self.path.rpartition(".")[2]


def check_unwrapped(model: nn.Module) -> None:
    """Refuse a model that is wrapped for several processes, which would not know the new parameters, or scripted.

    Raises:
        UserError: with the order to use.
    """
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(f"{path or 'the model'} is a script, which keeps its code: first replace, then script")
        kind = next((kind.__name__ for kind in type(module).__mro__ if kind.__name__ in WRAPPERS), None)
        if kind is not None:
            raise UserError(
                f"{path or 'the model'} is a {kind}, which knows only the parameters that the model had when it was "
                "wrapped: first replace the operators, then wrap the model, then make the optimizer"
            )


def check_convolution(path: str, convolution: nn.Conv2d, size: int | None = None) -> None:
    """Refuse a convolution with a setting that an operator cannot take over.

    Args:
        path: of the convolution, for the message.
        convolution: the convolution to replace.
        size: the kernel size that it has to have. None takes any odd, square kernel.

    Raises:
        UserError: with the path, the setting, and what to do.
    """
    if isinstance(convolution, LazyModuleMixin) and convolution.has_uninitialized_params():
        raise UserError(f"{path} is lazy and does not know its channels yet; run a batch through the model first")
    if convolution.groups != 1 or pair(convolution.dilation) != (1, 1):
        raise UserError(
            f"{path} has groups={convolution.groups} and dilation={convolution.dilation}; only a plain convolution "
            "can be replaced, so choose a ResNet without groups and with output stride 32"
        )
    height, width = pair(convolution.kernel_size)
    expected = size or height
    if (height, width) != (expected, expected) or height % 2 == 0 or padding_of(convolution) != (height // 2,) * 2:
        wanted = f"a {size}x{size} with padding {size // 2}" if size else "an odd square kernel, padded by half of it"
        raise UserError(
            f"{path} has kernel_size={convolution.kernel_size} and padding={convolution.padding}; expected {wanted}"
        )
    _check_carried(path, convolution)


def _check_carried(path: str, convolution: nn.Conv2d) -> None:
    """Refuse what no operator has and what would be lost."""
    if convolution.padding_mode != "zeros":
        raise UserError(
            f"{path} has padding_mode={convolution.padding_mode!r}, and operators pad with zeros; set it to 'zeros' "
            "first if the operator may do so"
        )
    added = additions(convolution)
    if added is not None:
        raise UserError(f"{path} has {added}, which an operator would not have; remove them first")
    if convolution.bias is not None:
        raise UserError(
            f"{path} has a bias, which an operator does not have; set it to None first, which changes nothing where a "
            "batch norm follows and the network is trained again"
        )
    kind, plain = type(convolution), nn.Conv2d
    known = (plain._conv_forward, SpatialConv2d._conv_forward)
    if kind.forward is not plain.forward or kind._conv_forward not in known:
        raise UserError(
            f"{path} is a {kind.__module__}.{kind.__qualname__}, which computes something else than nn.Conv2d; put an "
            "nn.Conv2d there first"
        )
    others = [name for name, _ in (*convolution.named_children(), *convolution.named_buffers())]
    others += [name for name, _ in convolution.named_parameters() if name != "weight"]
    if others:
        raise UserError(f"{path} holds {', '.join(others)}, which an operator would not have; remove what was added")
    weight = getattr(convolution, "weight", None)
    if type(weight) is not nn.Parameter or weight.dtype not in DTYPES:
        raise UserError(
            f"{path} has a weight of type {type(weight).__name__} and {getattr(weight, 'dtype', 'no dtype')}; expected "
            f"a plain parameter of {', '.join(map(str, DTYPES))}"
        )
    shape = (convolution.out_channels, convolution.in_channels, *pair(convolution.kernel_size))
    if weight.shape != shape:
        raise UserError(
            f"{path} has a weight of shape {tuple(weight.shape)} and settings for {shape}; set in_channels, "
            "out_channels and kernel_size to those of its weight first"
        )
    hooked = parameter_hooks(convolution)
    if hooked is not None:
        raise UserError(f"{path}.{hooked} has gradient hooks, which an operator would not have; remove them first")


def build_all(model: nn.Module, places: Sequence[Place], name: str, options: Mapping[str, Any]) -> list[nn.Module]:
    """An operator for each place. A convolution at two places becomes one operator at both.

    Raises:
        UserError: for a convolution that cannot be replaced, or options that the operator refuses.
    """
    for place in places:
        check_convolution(place.path, place.convolution)
        if len({*place.stride}) > 1 or place.stride[0] not in (1, 2):
            raise UserError(f"{place.path} has stride {place.stride}; operators have stride 1 or 2, the same both ways")
    _check_shared(model, places)
    built: dict[tuple[int, int], nn.Module] = {}
    operators = []
    for place in places:
        key = id(place.convolution), place.stride[0]
        if key not in built:
            built[key] = _build(name, place.convolution, place.stride[0], options)
        operators.append(built[key])
    return operators


def put_in(places: Sequence[Place], operators: Sequence[nn.Module]) -> list[str]:
    """Put the operators in and return their paths."""
    for place, operator in zip(places, operators, strict=True):
        place.parent._modules[place.name] = operator
    return [place.path for place in places]


def _build(name: str, convolution: nn.Conv2d, stride: int, options: Mapping[str, Any]) -> nn.Module:
    weight = convolution.weight
    # With "meta" as default device the operator of a convolution that has content would have none.
    default = torch.get_default_device()
    device = torch.device("cpu") if default.type == "meta" and not weight.is_meta else default
    # In inference mode a model made before would get parameters that cannot be trained.
    with device, torch.inference_mode(weight.is_inference()):
        operator: nn.Module = build_operator(name, convolution.in_channels, convolution.out_channels, stride, **options)
        operator.to(device=weight.device, dtype=weight.dtype)
        if not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last):
            operator.to(memory_format=torch.channels_last)
    return operator.train(convolution.training)


def _check_shared(model: nn.Module, places: Sequence[Place]) -> None:
    """Refuse to replace a convolution, or its weight, that is used at another place too and stays there."""
    replaced = {(id(place.parent), place.name) for place in places}
    convolutions = {id(place.convolution): place for place in places}
    weights = {id(place.convolution.weight): place for place in places}
    strides: dict[int, int] = {}
    for place in places:
        if strides.setdefault(id(place.convolution), place.stride[0]) != place.stride[0]:
            raise UserError(f"{place.path} is used at two places, where its operator would have two strides")
    for path, module in model.named_modules():
        for name, child in module._modules.items():
            if id(child) in convolutions and (id(module), name) not in replaced:
                _refuse_shared(convolutions[id(child)].path, f"{path}.{name}" if path else name)
        for name, parameter in module._parameters.items():
            owner = weights.get(id(parameter))
            if parameter is not None and owner is not None and module is not owner.convolution:
                _refuse_shared(f"{owner.path}.weight", f"{path}.{name}")


def _refuse_shared(one: str, other: str) -> None:
    raise UserError(f"{one} is shared with {other}, which stays; give each its own first")
