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
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.walk import fuse
from lightning_xvol.ledger.checkpoints import load_weights, network_weights, read_checkpoint
from lightning_xvol.ledger.files import write_bytes


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
    return trained_in(read_checkpoint(checkpoint), checkpoint, data_dir, trust)


def trained_in(content: Any, checkpoint: Path, data_dir: Path | None = None, trust: bool = False) -> Trained:
    """As `read_trained`, from the `content` of the file `checkpoint`."""
    run = content.get("run") if isinstance(content, dict) else None
    if not isinstance(run, dict) or "config" not in run or "state_dict" not in content:
        raise UserError(
            f"{str(checkpoint)!r} is no checkpoint of a cell: expected one that `python -m lightning_xvol fit` or a "
            "sweep wrote, runs/cells/<id>/checkpoints/step=N.ckpt"
        )
    config = importable(from_record(run["config"], source=repr(str(checkpoint)), trust=trust))
    task = registry.task(config.data.name, config.data.options)
    if task in ("detection", "segmentation"):
        raise UserError(
            f"{str(checkpoint)!r} holds a detector, and this command takes networks that map one tensor to another; "
            "use `python -m lightning_xvol predict`, which draws the objects that a detector finds"
        )
    num_classes, image_shape = _sizes(run, config, data_dir)
    weights = network_weights(content)
    network = _build(config, num_classes, image_shape[0], weights)
    load_weights(network, weights, checkpoint)
    return Trained(network, config, num_classes, image_shape, run)


def _sizes(run: Mapping[str, Any], config: RunConfig, data_dir: Path | None) -> tuple[int, tuple[int, int, int]]:
    """Number of classes and image shape. They come from the data where the checkpoint is too old to hold them."""
    if "image_shape" in run:
        channels, height, width = run["image_shape"]
        return run["num_classes"], (channels, height, width)
    from lightning_xvol.data import build_data

    data = build_data(config.data, data_dir)
    return data.num_classes, data.image_shape


def _build(config: RunConfig, num_classes: int, in_channels: int, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network of `config` in the dtype of `weights`, in eval mode."""
    network = build_backbone(config.backbone, config.operator, num_classes=num_classes, in_channels=in_channels)
    dtype = next((tensor.dtype for tensor in weights.values() if tensor.is_floating_point()), torch.float32)
    network.to(dtype)
    if config.train.memory_format == "channels_last":
        network.to(memory_format=torch.channels_last)
    return network.eval()


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
    except safetensors.SafetensorError as error:
        raise UserError(f"{str(path)!r} is incomplete or not a safetensors file: {error}") from error
    if not {"config", "num_classes", "image_shape", "block_norms"} <= header.keys():
        raise UserError(f"{str(path)!r} has no configuration in its header: `python -m lightning_xvol fuse` writes one")
    config, num_classes, image_shape = (json.loads(header[name]) for name in ("config", "num_classes", "image_shape"))
    built = importable(from_record(config, source=repr(str(path)), trust=trust))
    network = _build(built, num_classes, image_shape[0], weights)
    fused = fuse(network, block_norms=json.loads(header["block_norms"]))
    load_weights(fused, weights, path)
    return fused
