"""Feature maps and their global self-attention, as a regression: can a stack of local operators imitate attention?

Section 3.3 of the paper argues that stacked PSSA approximates global self-attention (Eq. 3), because context passes
from neighbour to neighbour. Here the attention is fixed and known:

    y_0 = W^v sum_t a_0t x_t                       over all n positions t
    a_0t = softmax_t(<W x_0, W x_t> / sqrt(C))     with softmax
    a_0t = <W x_0, W x_t> / (n sqrt(C))            without, as in Eq. 3

Query and key share one orthogonal W, so <W x_0, W x_t> is the product of x_0 and x_t, as Eq. 3 needs. W^v is orthogonal
too. The matrices do not depend on the option `draw`.

Without softmax, y_0 is one matrix per image times x_0 (linear attention), and these matrices are similar in all images.
A fit must therefore be compared with a static 1x1 convolution, as `lightning_xvol.modules.regression` does.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from lightning_xvol.data.base import ImageData, MapSplit, require_whole
from lightning_xvol.errors import UserError
from lightning_xvol.seeding import derive_seed

SOURCES = ("spectrum", "photographs")
FILTER = 5  # pixels a side
POOLING = 2  # photographs are averaged over squares of this side
TRAINING_PART = 0.7  # the part of each photograph that is for training, from its left edge
CHUNK = 100  # maps whose attention is computed at once


class AttentionMaps(ImageData):
    """Pairs of feature maps `[channels, size, size]`, x and its global attention y.

    `num_classes` is the number of channels of y, which equals that of x. The maps x are non-negative, as after a ReLU,
    and scaled to a root mean square of 1 over the training split.

    Args:
        root: not used; the maps are computed.
        download: not used.
        source: `spectrum` gives gaussian maps with the amplitude 1 / frequency of natural images, mixed over channels
            with variances 1, 1/2, 1/3, ...; `photographs` gives fixed random 5x5 filters on scikit-learn's two
            photographs: the left 70 % of each for training, the rest for validation.
        softmax: whether a softmax normalises the attention.
        channels: of x and y.
        size: height and width.
        train_size: maps for training. A larger split begins with the maps of a smaller one.
        validation_size: maps held out.
        draw: another number gives other random maps.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        download: bool = False,
        source: str = "spectrum",
        softmax: bool = True,
        channels: int = 8,
        size: int = 16,
        train_size: int = 1000,
        validation_size: int = 200,
        draw: int = 0,
    ) -> None:
        super().__init__(root, download=download)
        if source not in SOURCES:
            raise UserError(f"data.options.source={source} must be one of {', '.join(SOURCES)}")
        if not isinstance(softmax, bool):
            raise UserError(f"data.options.softmax={softmax} must be true or false")
        self.source, self.softmax = source, softmax
        self.channels = require_whole("channels", channels, 1)
        self.size = require_whole("size", size, 2)
        self.sizes = {
            "train": require_whole("train_size", train_size, 1),
            "validation": require_whole("validation_size", validation_size, 1),
        }
        self.draw = require_whole("draw", draw, 0)
        self.num_classes = channels
        self.image_shape = (channels, size, size)

    @classmethod
    def declared(cls, **options: object) -> tuple[int, tuple[int, int, int]]:
        channels, size = options["channels"], options["size"]
        return channels, (channels, size, size)  # type: ignore[return-value]

    def train(self) -> MapSplit:
        return self._split("train")

    def validation(self) -> MapSplit:
        return self._split("validation")

    def _split(self, name: str) -> MapSplit:
        maps, scale = (self._maps(part) for part in (name, "train"))
        return _pairs(maps / scale.square().mean().sqrt(), self.softmax)

    def _maps(self, name: str) -> Tensor:
        return _maps(self.source, name, self.draw, self.sizes[name], self.channels, self.size)


def _pairs(x: Tensor, softmax: bool) -> MapSplit:
    y = torch.cat([global_attention(part, softmax) for part in x.split(CHUNK)])
    return MapSplit(x.float(), y.float())


def global_attention(x: Tensor, softmax: bool) -> Tensor:
    """The targets y for maps x `[B, C, H, W]`, by the formula at the top of this module."""
    channels = x.shape[1]
    tokens = x.flatten(2)  # [B, C, n]
    shared, value = (torch.from_numpy(_orthogonal(purpose, channels)).to(x) for purpose in ("query and key", "value"))
    projected = shared @ tokens
    logits = projected.mT @ projected / math.sqrt(channels)  # [B, n, n]
    weights = logits.softmax(-1) if softmax else logits / tokens.shape[-1]
    return (value @ tokens @ weights.mT).view(x.shape)


def _stream(*parts: int | str) -> numpy.random.Generator:
    return numpy.random.Generator(numpy.random.Philox(key=derive_seed("attention maps", *parts)))


def _orthogonal(purpose: str, channels: int) -> numpy.ndarray:
    return numpy.linalg.qr(_stream(purpose).standard_normal((channels, channels)))[0]


@functools.lru_cache(maxsize=4)
def _maps(source: str, split: str, draw: int, count: int, channels: int, size: int) -> Tensor:
    """Maps x `[count, channels, size, size]` in float64, before scaling."""
    stream = _stream(source, split, draw)
    if source == "photographs":
        return _crops(split, stream, count, channels, size)
    noise = torch.from_numpy(stream.standard_normal((count, channels, size, size)))
    down, right = torch.fft.fftfreq(size, dtype=torch.double), torch.fft.rfftfreq(size, dtype=torch.double)
    frequency = torch.hypot(down[:, None], right)
    frequency[0, 0] = 1 / size  # the mean of a map varies as much as its lowest wave
    maps = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=(size, size))
    spread = torch.arange(1, channels + 1, dtype=torch.double) ** -0.5
    mixing = torch.from_numpy(_orthogonal("channels", channels)) * spread  # [C, C]
    return torch.einsum("oc,bcij->boij", mixing, maps).relu()


def _crops(split: str, stream: numpy.random.Generator, count: int, channels: int, size: int) -> Tensor:
    features = _photographs(channels)  # per photograph [C, H, W]
    crops = []
    for number in range(count):
        whole = features[number % len(features)]
        border = int(TRAINING_PART * whole.shape[-1])
        part = whole[..., :border] if split == "train" else whole[..., border + FILTER :]
        rows, columns = part.shape[-2] - size + 1, part.shape[-1] - size + 1
        if min(rows, columns) < 1:
            raise UserError(f"data.options.size={size} is larger than the photographs' {min(part.shape[-2:])} pixels")
        words = stream.bit_generator.random_raw(2)
        row, column = int(words[0] % rows), int(words[1] % columns)
        crops.append(part[:, row : row + size, column : column + size])
    return torch.stack(crops)


@functools.lru_cache(maxsize=1)
def _photographs(channels: int) -> list[Tensor]:
    """Features of each photograph [C, H, W]: mean 0 and variance 1 over its training part, then a ReLU."""
    from sklearn.datasets import load_sample_images

    filters = torch.from_numpy(_stream("filters").standard_normal((channels, 3, FILTER, FILTER)))
    features = []
    for image in load_sample_images().images:
        pixels = torch.from_numpy(numpy.array(image, dtype=numpy.float64)).permute(2, 0, 1)
        maps = functional.conv2d(functional.avg_pool2d(pixels[None], POOLING), filters)[0]
        training = maps[..., : int(TRAINING_PART * maps.shape[-1])]
        mean, std = training.mean((1, 2), keepdim=True), training.std((1, 2), keepdim=True)
        features.append(((maps - mean) / std).relu())
    return features
