"""A picture as the input of a classifier, as evaluation makes it from the pictures of the data set."""

from __future__ import annotations

from typing import Any

import numpy
import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_xvol.config import registry
from lightning_xvol.config.schema import DataConfig
from lightning_xvol.data.base import normalised
from lightning_xvol.data.imagenet import ImageNet, central_crop
from lightning_xvol.errors import UserError

LARGE = 16_000_000
"""Pictures with more pixels are averaged to about four times the input of the network before they are resized."""


def to_input(picture: PIL.Image.Image, config: DataConfig, image_shape: tuple[int, int, int]) -> Tensor:
    """The RGB `picture` as input of a network for `config`: `[C, H, W]`, float32.

    For `imagenet` and `folder` it is what evaluation makes of a file: resized, cropped at the centre, normalised. For
    other data sets, whose images are no files, it is resized to `image_shape` and normalised by `mean` and `std` of the
    data set's class. If the class has none, the picture's own mean and standard deviation are used.

    Raises:
        UserError: if the network takes neither grey nor colour images.
    """
    channels, height, width = image_shape
    made: Any = registry.load("data", config.name)
    if isinstance(made, type) and issubclass(made, ImageNet):
        return normalised(central_crop(height)(picture), made.mean, made.std)
    if channels not in (1, 3):
        raise UserError(f"pictures have 1 or 3 channels, but this network takes {channels}")
    if picture.width * picture.height > LARGE:  # as float32 it would take gigabytes
        picture = picture.reduce((max(1, picture.width // (4 * width)), max(1, picture.height // (4 * height))))
    values = numpy.asarray(picture.convert("L" if channels == 1 else "RGB"), dtype=numpy.float32) / 255
    image = torch.from_numpy(values).reshape(1, *values.shape[:2], channels).permute(0, 3, 1, 2)  # [1, C, H', W']
    image = F.interpolate(image, (height, width), mode="bilinear", antialias=True)[0]
    mean, std = getattr(made, "mean", None), getattr(made, "std", None)
    if mean is None or std is None:
        mean, std = image.mean((1, 2)), image.std((1, 2)).clamp_min(1e-3)
    shift, scale = (torch.as_tensor(values, dtype=torch.float32).reshape(-1, 1, 1) for values in (mean, std))
    return (image - shift) / scale
