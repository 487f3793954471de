"""Everything that one figure shows of a trained network, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_xvol.backbones.receptive_field import (
    Pixel,
    Place,
    effective_receptive_field,
    places,
    positions,
    run_to,
    side_with,
)
from lightning_xvol.errors import UserError
from lightning_xvol.visualize.dynamic_kernel import Windows, atomic_form, windows
from lightning_xvol.visualize.tap_weights import TapWeights, find_pssa, tap_weights

SHARE = 0.5  # of the gradient, in the square drawn around the centre
TAKEN_AT_ONCE = 16


@dataclass(frozen=True)
class Field:
    """The effective receptive field `[H, W]` of the operator at `path`, and the square that holds `SHARE` of it."""

    stage: int
    path: str
    field: Tensor
    centre: Pixel
    side: int


@dataclass(frozen=True)
class Content:
    """The panels of a figure. One that does not apply is a sentence saying why.

    Attributes:
        name: of the operator.
        averaged: over how many images the fields are.
        image: whose kernels are shown, `[C, H, W]`, and `pixels` of it.
        shown: the operator of kernels and tap weights.
    """

    name: str
    fields: list[Field]
    averaged: int
    image: Tensor
    pixels: list[Pixel]
    shown: Place
    kernels: Windows | str
    taps: TapWeights | str


def default_pixels(height: int, width: int) -> list[Pixel]:
    """The centre, and the pixels at 3/8 of the side to its left and above it."""
    row, column = height // 2, width // 2
    return [(row, column), (row, column - 3 * width // 8), (row - 3 * height // 8, column)]


def gather(
    network: nn.Module,
    name: str,
    stages: Sequence[int],
    images: Tensor,
    image: Tensor,
    pixels: Sequence[Pixel] | None = None,
    stage: int | None = None,
) -> Content:
    """Compute what there is to show of `network`, whose operators stand in `stages`.

    Args:
        images: what the receptive fields are averaged over, `[B, C, H, W]`.
        image: `[C, H, W]`; kernels are shown at `pixels` of it (`default_pixels`), of the operator in `stage` (the
            first).

    Raises:
        UserError: for a stage without an operator, or a pixel outside the image.
    """
    found = places(network.eval(), stages)
    if not found:
        raise UserError("the network has no operator in a known place: a `conv2` in a block of layer1 to layer4")
    shown = next((place for place in found if place.stage == (found[0].stage if stage is None else stage)), None)
    if shown is None:
        raise UserError(f"--stage {stage} has no operator; this network has {', '.join(str(p.stage) for p in found)}")
    height, width = image.shape[1:]
    chosen = default_pixels(height, width) if pixels is None else list(pixels)
    for row, column in chosen:
        if not (0 <= row < height and 0 <= column < width):
            raise UserError(f"--pixel {row},{column} is outside the image of {height} x {width}")
    pssa = find_pssa(shown.operator)
    return Content(
        name=name,
        fields=[_field(network, place, images) for place in found],
        averaged=len(images),
        image=image,
        pixels=chosen,
        shown=shown,
        kernels=_kernels(network, shown, image, chosen),
        taps="it has no shifted taps" if pssa is None else tap_weights(pssa),
    )


def _field(network: nn.Module, place: Place, images: Tensor) -> Field:
    """In portions: the whole network's activations are kept for each."""
    total, centre = torch.zeros(images.shape[-2:]), (0, 0)
    for part in images.split(TAKEN_AT_ONCE):
        field, centre = effective_receptive_field(network, place.operator, part)
        total += field.float() * len(part) / len(images)
    if not total.isfinite().all():
        raise UserError(f"the gradient at {place.path} is not finite: these weights are of a run that diverged")
    return Field(place.stage, place.path, total, centre, side_with(total, centre, SHARE))


def _kernels(network: nn.Module, place: Place, image: Tensor, pixels: Sequence[Pixel]) -> Windows | str:
    atomic = atomic_form(place.operator)
    if isinstance(atomic, str):
        return atomic
    with torch.no_grad():
        x, y = run_to(network, place.operator, image[None])
    return windows(atomic, x[0], positions(image, y, pixels))
