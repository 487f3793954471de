"""The forms and taps of PSSA and involution, and functions that all paths share.

Legend for this package:

* B batch, C channels, h heads, d = C / h channels of a head, G groups, T taps,
* H W the grid of key and value, H' W' the grid of the query (`ceil(H / stride)`), N = H W, M = H' W'.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

EPS = 1e-3  # floor of the norms, since padding regions of detection batches are near zero

# Row-major, so that the eight directions around a zero or a centre tap are a 3x3 kernel.
DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True)
class Form:
    """One form of PSSA.

    Attributes:
        product: whether it has the product of query and key.
        value: whether it has a value.
        weight: whether a tap has one weight per head, per channel, or (dense) per pair of channels.
        softmax: whether the tap weight is added to the product, under a softmax over the taps.
    """

    product: bool
    value: bool
    weight: Literal["head", "channel", "dense"]
    softmax: bool = False

    @property
    def takes_bias(self) -> bool:
        """Whether a position bias on the products has an effect that nothing else has."""
        return self.product and self.value and not self.softmax


FORMS = {
    "dot": Form(product=True, value=True, weight="head"),
    "hadamard": Form(product=True, value=True, weight="channel"),
    "hadamard_no_value": Form(product=True, value=False, weight="channel"),
    "dense": Form(product=True, value=False, weight="dense"),
    "softmax": Form(product=True, value=True, weight="head", softmax=True),
    "static": Form(product=False, value=True, weight="head"),
    "static_channel": Form(product=False, value=True, weight="channel"),
    "static_dense": Form(product=False, value=True, weight="dense"),
}


@dataclass(frozen=True)
class Spec:
    """One PSSA: its form and the options that its kernels need."""

    form: str
    shift_distances: tuple[int, ...]
    centre: bool = False
    stride: int = 1
    num_heads: int = 1
    normalize: bool = False

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Row and column offset of each tap: eight directions at each distance, then the centre if it is a tap."""
        taps = tuple((length * row, length * column) for length in self.shift_distances for row, column in DIRECTIONS)
        return (*taps, (0, 0)) if self.centre else taps

    @property
    def reach(self) -> int:
        """The distance of the outermost tap."""
        return max(self.shift_distances)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """H', W': the grid of the query positions."""
        return -(-height // self.stride), -(-width // self.stride)

    def weight_shape(self, channels: int) -> tuple[int, ...]:
        """Shape of the tap weights: `[h, T]`, `[C, T]` or, dense, `[C, T, C]` (output, tap, input)."""
        taps = len(self.offsets)
        span = FORMS[self.form].weight
        return {"head": (self.num_heads, taps), "channel": (channels, taps), "dense": (channels, taps, channels)}[span]

    def macs_per_query(self, channels: int) -> int:
        """Multiplications of all taps at one position: with the query, with the tap weight, with the value."""
        form = FORMS[self.form]
        per_head = self.num_heads if form.product else channels  # an inner product is one number, a value has d
        weight = {"head": per_head, "channel": channels, "dense": channels**2}[form.weight] * (not form.softmax)
        value = channels if form.product and form.value else 0
        return len(self.offsets) * (channels * form.product + weight + value)


@dataclass(frozen=True)
class Window:
    """The K x K taps of an involution, row-major as in `nn.Unfold`."""

    kernel_size: int
    stride: int = 1

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """Row and column offset of every tap."""
        reach = range(-self.reach, self.reach + 1)
        return tuple((row, column) for row in reach for column in reach)

    @property
    def reach(self) -> int:
        """The distance of the outermost tap."""
        return self.kernel_size // 2

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """H', W': the grid of the kernels."""
        return -(-height // self.stride), -(-width // self.stride)


Taps = Spec | Window


def given(x: Tensor | None) -> Tensor:
    """`x`, which must not be None.

    Raises:
        ValueError: where it is None.
    """
    if x is None:
        raise ValueError("the form needs a query, key or value that is None")
    return x


def no_autocast(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Switch autocast off: it would turn the float32 sums of float16 products back into float16."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return contextlib.nullcontext()


def unit(x: Tensor, num_heads: int, scaled: bool = True) -> Tensor:
    """`x / max(|x|, eps)`, `[B, C, H, W]`, with the norm over the channels of each head; times sqrt(d) if `scaled`.

    It sums squares, because `vector_norm` over an inner dimension is slow on CPU: 1.6 ms, not 0.03, at [64, 16, 8, 8].
    """
    heads = x.unflatten(1, (num_heads, -1))  # [B, h, d, H, W]
    scale = torch.rsqrt((heads * heads).sum(2, keepdim=True).clamp_min(EPS**2))
    if scaled:
        scale = scale * math.sqrt(heads.shape[2])
    return (heads * scale).flatten(1, 2)
