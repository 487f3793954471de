"""The images of a figure: some of the recipe's validation split, or a picture of the user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_xvol.config import registry
from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data import build_data
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.files import open_bytes


def validation_images(config: DataConfig, data_dir: Path | None, count: int) -> Tensor:
    """The first `count` images of the validation split, `[B, C, H, W]`, normalised.

    Raises:
        UserError: if the data set is missing.
    """
    split: Any = build_data(config, data_dir).validation()
    return torch.stack([split[index][0] for index in range(min(count, len(split)))])


def read_image(path: Path, config: DataConfig, image_shape: tuple[int, int, int]) -> Tensor:
    """The picture at `path` as input of a network for `config`: `[C, H, W]`.

    It is resized to `image_shape` and normalised by `mean` and `std` of the data set's class. If the class has none,
    the picture's own mean and standard deviation are used.

    Raises:
        UserError: if the file is not a picture, or if the network takes neither grey nor colour images.
    """
    from PIL import Image, UnidentifiedImageError

    channels, height, width = image_shape
    if channels not in (1, 3):
        raise UserError(f"--image has 1 or 3 channels, but this network takes {channels}; leave --image out")
    try:
        with open_bytes(path) as file, Image.open(file) as picture:
            values = numpy.asarray(picture.convert("L" if channels == 1 else "RGB"), dtype=numpy.float32) / 255
    except FileNotFoundError as error:
        raise UserError(f"no image at {str(path)!r}") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"cannot read --image {str(path)!r}: {' '.join(str(error).split())}") from error
    image = torch.from_numpy(values).reshape(1, *values.shape[:2], channels).permute(0, 3, 1, 2)
    image = F.interpolate(image, (height, width), mode="bilinear", antialias=True)[0]
    made = registry.load("data", config.name)
    mean, std = getattr(made, "mean", None), getattr(made, "std", None)
    if mean is None or std is None:
        mean, std = image.mean((1, 2)), image.std((1, 2)).clamp_min(1e-3)
    shift, scale = (torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1) for values in (mean, std))
    return (image - shift) / scale
