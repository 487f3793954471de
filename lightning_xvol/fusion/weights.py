"""Read trained weights from the checkpoint of a cell; write and read fused weights as safetensors.

A file of fused weights holds the configuration of its network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lightning_xvol.backbones import build_backbone
from lightning_xvol.config import registry
from lightning_xvol.config.imports import importable
from lightning_xvol.config.schema import RunConfig, from_record, to_dict
from lightning_xvol.errors import UserError, one_line
from lightning_xvol.fusion.walk import fuse
from lightning_xvol.ledger import checks
from lightning_xvol.ledger.checkpoints import CELL, load_weights, network_weights, read_cell
from lightning_xvol.ledger.files import parse_json, write_bytes

FUSED = ("config", "num_classes", "image_shape", "block_norms")
"""What the header of a file of fused weights holds, as JSON."""


@dataclass(frozen=True)
class Trained:
    """The network of a cell with its trained weights, and how it was trained.

    Attributes:
        network: the network in eval mode.
        config: the configuration of the cell.
        num_classes: the number of classes.
        image_shape: channels, height and width of the images it was trained on.
        run: what the checkpoint says about the run.
    """

    network: nn.Module
    config: RunConfig
    num_classes: int
    image_shape: tuple[int, int, int]
    run: Mapping[str, Any]


def read_trained(checkpoint: Path, data_dir: Path | None = None, trust: bool = False) -> Trained:
    """The network in the checkpoint of a cell.

    Args:
        checkpoint: the file.
        data_dir: the folder of the data sets, for an old checkpoint that does not hold the shape of its images.
        trust: whether classes that the checkpoint names by import path may be imported, which runs their code.

    Raises:
        UserError: for a file that is not the checkpoint of a cell, weights that do not fit their configuration, or an
            import path in a checkpoint that is not trusted.
    """
    return trained_in(*read_cell(checkpoint), checkpoint, data_dir, trust)


def trained_in(
    content: Mapping[str, Any],
    run: Mapping[str, Any],
    checkpoint: Path,
    data_dir: Path | None = None,
    trust: bool = False,
) -> Trained:
    """As `read_trained`, from what `read_cell` returns for the file `checkpoint`."""
    config = importable(from_record(run["config"], source=repr(str(checkpoint)), trust=trust))
    task = registry.task(config.data.name, config.data.options)
    if task in ("detection", "segmentation"):
        raise UserError(
            f"{str(checkpoint)!r} holds a detector, and this command takes networks that map one tensor to another; "
            "use `python -m lightning_xvol predict`, which draws the objects that a detector finds"
        )
    num_classes, image_shape = _sizes(run, config, data_dir)
    weights = network_weights(content)
    network = _build(config, num_classes, image_shape[0], weights, checkpoint)
    load_weights(network, weights, checkpoint)
    return Trained(network, config, num_classes, image_shape, run)


def _sizes(run: Mapping[str, Any], config: RunConfig, data_dir: Path | None) -> tuple[int, tuple[int, int, int]]:
    """Number of classes and image shape. They come from the data where the checkpoint is too old to hold them."""
    if {"image_shape", "num_classes"} <= run.keys():
        channels, height, width = run["image_shape"]
        return run["num_classes"], (channels, height, width)
    from lightning_xvol.data import build_data

    data = build_data(config.data, data_dir)
    return data.num_classes, data.image_shape


def _build(
    config: RunConfig, num_classes: int, in_channels: int, weights: Mapping[str, Tensor], path: Path
) -> nn.Module:
    """The network of `config` in the dtype of `weights`, in eval mode. `path` is the file that holds both.

    Raises:
        UserError: for a configuration that no network can have, or weights that do not fit it.
    """
    arguments = {"num_classes": num_classes, "in_channels": in_channels}
    try:
        # Without memory first: the file may ask for a network that no machine can hold.
        with torch.device("meta"):
            size = _elements(build_backbone(config.backbone, config.operator, **arguments).state_dict())
        if size > 1_000_000 + 4 * _elements(weights):  # fusion leaves fewer weights
            raise UserError(f"the weights in {str(path)!r} do not fit their configuration's network, which is larger")
        network = build_backbone(config.backbone, config.operator, **arguments)
    except UserError:
        raise
    except Exception as error:  # options of the file reach the constructors of operators and backbones
        raise UserError(f"cannot build the network of {str(path)!r}: {one_line(error)}") from error
    dtype = next((tensor.dtype for tensor in weights.values() if tensor.is_floating_point()), torch.float32)
    network.to(dtype)
    if config.train.memory_format == "channels_last":
        network.to(memory_format=torch.channels_last)
    return network.eval()


def _elements(weights: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in weights.values())


def random_images(trained: Trained, count: int) -> Tensor:
    """Normal noise, the same every time, in the dtype and memory format of the network."""
    parameter = next(trained.network.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, *trained.image_shape, generator=generator).to(parameter.dtype)
    channels_last = trained.config.train.memory_format == "channels_last"
    return images.contiguous(memory_format=torch.channels_last) if channels_last else images


def save_fused(path: Path, network: nn.Module, trained: Trained, block_norms: bool) -> None:
    """Write the state dict of the fused `network` and all that `load_fused` needs. The write is whole or not at all."""
    header = {
        "config": to_dict(trained.config),
        "num_classes": trained.num_classes,
        "image_shape": trained.image_shape,
        "block_norms": block_norms,
        "cell_id": trained.run.get("cell_id"),
        "step": trained.run.get("step"),
    }
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    metadata = {"format": "pt", **{name: json.dumps(value) for name, value in header.items()}}
    write_bytes(path, safetensors.torch.save(tensors, metadata))


def load_fused(path: Path, trust: bool = False) -> nn.Module:
    """The fused network that `python -m lightning_xvol fuse` wrote, in eval mode on the CPU.

    Args:
        path: the safetensors file.
        trust: whether classes that the file names by import path may be imported, which runs their code.

    Raises:
        UserError: for any other file, or an import path in a file that is not trusted.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no file at {str(path)!r}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata() or {}
        weights = safetensors.torch.load_file(path)
    except PermissionError:
        raise
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{str(path)!r} is incomplete or not a safetensors file: {error}") from error
    about: dict[str, Any] = {name: parse_json(header[name]) for name in FUSED if name in header}
    if len(about) < len(FUSED):
        raise UserError(f"{str(path)!r} has no configuration in its header: `python -m lightning_xvol fuse` writes one")
    unfit = checks.problems(about, checks.plain, CELL, checks.fields({"block_norms": checks.flag}))
    if unfit:
        raise UserError(f"{str(path)!r} has missing or unfit values: {unfit}; fuse the checkpoint again")
    config = importable(from_record(about["config"], source=repr(str(path)), trust=trust))
    network = _build(config, about["num_classes"], about["image_shape"][0], weights, path)
    fused = fuse(network, block_norms=about["block_norms"])
    load_weights(fused, weights, path)
    return fused
