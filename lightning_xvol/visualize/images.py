"""The images of a figure: some of the recipe's validation split, or a picture of the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data import build_data
from lightning_xvol.data.inputs import to_input
from lightning_xvol.data.pictures import read_picture
from lightning_xvol.errors import UserError


def validation_images(config: DataConfig, data_dir: Path | None, count: int, seed: int = 0) -> Tensor:
    """The first `count` images of the validation split of a run with this `seed`, `[B, C, H, W]`, normalised.

    Raises:
        UserError: if the data set is missing.
    """
    split: Any = build_data(config, data_dir, seed=seed).validation()
    return torch.stack([split[index][0] for index in range(min(count, len(split)))])


def read_image(path: Path, config: DataConfig, image_shape: tuple[int, int, int]) -> Tensor:
    """The picture at `path` as input of a network for `config`: `[C, H, W]`.

    It is what `lightning_xvol.data.inputs.to_input` makes of it.

    Raises:
        UserError: if the file is not a picture, or if the network takes neither grey nor colour images.
    """
    if image_shape[0] not in (1, 3):
        raise UserError(f"--image has 1 or 3 channels, but this network takes {image_shape[0]}; leave --image out")
    if not path.exists():
        raise UserError(f"no image at {str(path)!r}")
    return to_input(read_picture(path, "--image", upright=True), config, image_shape)
