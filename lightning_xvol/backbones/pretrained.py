"""Weights of a file for a network with operators: which keys are loaded, which are new, which are left over.

`load_state_dict(strict=False)` alone would accept a file that fits nowhere. Here every weight of the network comes from
the file or belongs to a module that is declared new; otherwise loading fails. `LoadReport` lists every key.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lightning_xvol.backbones.strides import MARK
from lightning_xvol.config.schema import BackboneConfig
from lightning_xvol.errors import UserError, nearest
from lightning_xvol.ledger.checkpoints import network_weights, read_checkpoint
from lightning_xvol.ledger.files import open_bytes
from lightning_xvol.operators.convolution import Convolution

_NESTED = ("state_dict", "model")  # where training scripts keep the weights in their checkpoints
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile


@dataclass(frozen=True)
class LoadReport:
    """What happened to each key, by its name in the network (`layer4.0.conv2.conv.weight`).

    Attributes:
        loaded: keys taken from the file unchanged.
        resized: tables of relative positions, taken from the file and stretched to another size.
        new: keys of modules that are declared new; they keep their random values.
        unexpected: keys in the file that the network does not take, such as another classifier `fc`.
        fraction: the part of the network's values that the file provides.
    """

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    new: tuple[str, ...]
    unexpected: tuple[str, ...]
    fraction: float

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} keys loaded ({self.fraction:.1%} of the values)"]
        for name, keys in (("resized", self.resized), ("new", self.new), ("unexpected", self.unexpected)):
            parts.append(f"{len(keys)} {name}" + (f" ({some(keys)})" if keys else ""))
        return ", ".join(parts)

    def details(self) -> str:
        """`str(self)`, and every new and unexpected key on a line of its own."""
        listed = [("new", key) for key in self.new] + [("unexpected", key) for key in self.unexpected]
        return "\n".join([str(self), *(f"  {what}: {key}" for what, key in listed)])


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in the file at `path`, by their names in the network.

    The file is a state dict (`.pth`), safetensors, or a checkpoint that holds a state dict: one of ours, or that of a
    training script. Only tensors and plain values are read: no code of the file runs.

    Raises:
        UserError: for a file that is missing, torn, or holds something else.
    """
    content = _read(path)
    for name in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = network_weights({"state_dict": content[name]}) or content[name]
            break
    tensors = content if isinstance(content, dict) else {}
    if not tensors or not all(isinstance(value, Tensor) and isinstance(key, str) for key, value in tensors.items()):
        raise UserError(
            f"{str(path)!r} holds no weights of a network; expected a state dict, such as torchvision's and timm's "
            "files, or a checkpoint of a classification run"
        )
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return dict(tensors)


def _read(path: Path) -> object:
    if path.suffix == ".safetensors" and path.is_file():
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError) as error:
            raise UserError(f"{str(path)!r} is incomplete or not a safetensors file: {error}") from error
    return _read_legacy(path) if path.is_file() and not zipfile.is_zipfile(path) else read_checkpoint(path)


def _read_legacy(path: Path) -> object:
    """A file in the format of torch before version 1.6, as some of torchvision's files are."""
    try:
        with open_bytes(path) as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # the old format fails in as many ways as there are torn files
        raise UserError(f"{str(path)!r} is incomplete or holds no weights; fetch the file again") from error


def plan_load(
    network: nn.Module, replaced: Sequence[str], backbone: BackboneConfig, weights: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], LoadReport]:
    """What of `weights` goes into the classifier `network`, with the report. Nothing is loaded yet.

    A plain 3x3 convolution in the place of an operator takes the weights of the convolution that it replaces. Any other
    operator takes its own weights if the file has them all, and is new if the file has none.

    Args:
        network: as `build_backbone` makes it from `backbone`; it may be on the meta device.
        replaced: the paths of its operators.
        backbone: says which other modules are new, and whose weights these are.
        weights: of the file.
        path: of the file, for messages.

    Raises:
        UserError: for a missing weight of a module that is not declared new, for another shape, for an operator that
            the file has in part, for a stride elsewhere, and for a name in `pretrained_new` that is no module.
    """
    weights = dict(weights)
    own = weights_of(network)
    _check_strides(network, backbone, weights, path)
    plain = [name for name in replaced if is_plain(network.get_submodule(name))]
    rename_convolutions(weights, plain)
    declared = _declared(own, backbone.pretrained_new)
    for name in (name for name in replaced if name not in plain):
        keys = _below(own, [name])
        found = [key for key in keys if key in weights]
        if found and len(found) < len(keys) and name not in declared:
            lacking = [key for key in keys if key not in weights]
            raise UserError(
                f"{str(path)!r} has a part of the operator {name} and lacks {some(lacking)}; build the network with "
                f"the operator and options of the file, or declare it new with backbone.pretrained_new={name}"
            )
        if not found:
            declared.append(name)
    new = tuple(_below(own, declared))
    taken = {key: weights[key] for key in own if key in weights and key not in new}
    missing = [key for key in own if key not in taken and key not in new]
    if missing:
        modules = dict.fromkeys(key.rpartition(".")[0] or key for key in missing)
        raise UserError(
            f"{str(path)!r} lacks {len(missing)} weights of the network ({some(missing)}) and only "
            f"{', '.join(declared) or 'nothing'} is declared new; use the weights of the same network, or declare the "
            f"modules new with backbone.pretrained_new={','.join([*backbone.pretrained_new, *list(modules)[:3]])}"
        )
    for key, value in taken.items():
        if value.shape != own[key].shape:
            module = key.rpartition(".")[0] or key
            raise UserError(
                f"{key} is {[*value.shape]} in {str(path)!r} and {[*own[key].shape]} in the network; use the weights "
                "of the same network, or declare the module new with backbone.pretrained_new="
                f"{','.join([*backbone.pretrained_new, module])}"
            )
    return taken, make_report(own, taken, (), new, weights)


def make_report(
    own: Mapping[str, Tensor],
    taken: Collection[str],
    resized: Sequence[str],
    new: Sequence[str],
    weights: Iterable[str],
) -> LoadReport:
    """The report of a load that takes the keys `taken`, of which `resized` were stretched, for the network's `own`."""
    loaded = tuple(key for key in own if key in taken and key not in resized)
    unexpected = tuple(key for key in weights if key not in taken and not is_bookkeeping(key))
    values = sum(own[key].numel() for key in (*loaded, *resized))
    return LoadReport(loaded, tuple(resized), tuple(new), unexpected, values / sum(x.numel() for x in own.values()))


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The state dict of `network` without what is no weight."""
    return {key: value for key, value in network.state_dict().items() if not is_bookkeeping(key)}


def load(network: nn.Module, taken: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Load `taken` into `network`, and the bookkeeping in `weights`."""
    rest = {key: value for key, value in weights.items() if is_bookkeeping(key)}
    network.load_state_dict({**rest, **taken}, strict=False)


def is_plain(module: nn.Module) -> bool:
    """Whether the operator is the 3x3 convolution that the plain network has."""
    return isinstance(module, Convolution) and module.conv.kernel_size == (3, 3)


def check_unmoved(network: nn.Module, plain: Iterable[str]) -> None:
    """Refuse a library's weights in a plain 3x3 convolution whose stride has moved into the 1x1 before it.

    Args:
        network: with operators.
        plain: the paths of the plain convolutions among them.

    Raises:
        UserError: with what to set.
    """
    for path in plain:
        mark = getattr(network.get_submodule(path.rpartition(".")[0]), MARK, None)
        if mark is not None and mark.value:
            raise UserError(
                "torchvision's weights stride in the 3x3, as timm's do, but stride_in_1x1=True has moved the stride of "
                f"{path}; set backbone.stride_in_1x1=false in all rows that you compare"
            )


def rename_convolutions(weights: dict[str, Tensor], plain: Iterable[str]) -> None:
    """Rename a library's `conv2.weight` to `conv2.conv.weight`, its name in our convolution."""
    for path in plain:
        if f"{path}.weight" in weights:
            weights[f"{path}.conv.weight"] = weights.pop(f"{path}.weight")


def is_bookkeeping(key: str) -> bool:
    """Whether the key is no weight: the mark of a block's stride, or the number of batches that a norm has seen."""
    return MARK in key or key.endswith("num_batches_tracked")


def some(keys: Sequence[str]) -> str:
    """The first three keys."""
    return ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")


def _below(keys: Iterable[str], modules: Iterable[str]) -> list[str]:
    roots = tuple(modules)
    return [key for key in keys if any(key == root or key.startswith(f"{root}.") for root in roots)]


def _declared(own: Mapping[str, Tensor], names: Sequence[str]) -> list[str]:
    for name in names:
        if not _below(own, [name]):
            modules = dict.fromkeys(key.rpartition(".")[0] or key for key in own)
            raise UserError(
                f"backbone.pretrained_new={name} is no module with weights in the network{nearest(name, modules)}; "
                f"the last ones are {', '.join(list(modules)[-3:])}"
            )
    return list(names)


def _check_strides(network: nn.Module, backbone: BackboneConfig, weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights whose bottlenecks stride elsewhere. Loading compares the marks that both sides have."""
    marks = {key: bool(value) for key, value in weights.items() if MARK in key}
    if backbone.pretrained_kind == "own":
        if not marks and any(MARK in key for key in network.state_dict()):
            raise UserError(
                f"{str(path)!r} does not say where its blocks stride, so it is no checkpoint of our own; set "
                "backbone.pretrained_kind=library"
            )
    elif marks:
        raise UserError(
            f"{str(path)!r} says where its blocks stride, so it is a checkpoint of our own; set "
            "backbone.pretrained_kind=own, and backbone.stride_in_1x1 as it was in that run"
        )
