"""The numbers behind one figure of a trained network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lightning_xvol.backbones.receptive_field import (
    Pixel,
    StageOperator,
    effective_receptive_field,
    positions,
    run_to,
    side_with,
    stage_operators,
)
from lightning_xvol.errors import UserError
from lightning_xvol.visualize.dynamic_kernel import Windows, atomic_form, windows
from lightning_xvol.visualize.tap_weights import TapWeights, find_pssa, tap_weights

SHARE = 0.5  # the part of the gradient that lies inside the square around the centre
TAKEN_AT_ONCE = 16


@dataclass(frozen=True)
class Field:
    """The effective receptive field of one operator.

    Attributes:
        stage: of the operator.
        path: of the operator.
        field: `[H, W]`.
        centre: row and column of its centre.
        side: of the square around the centre that holds `SHARE` of the field.
    """

    stage: int
    path: str
    field: Tensor
    centre: Pixel
    side: int


@dataclass(frozen=True)
class Content:
    """The panels of a figure. A panel that does not apply is a sentence that says why.

    Attributes:
        name: of the operator.
        fields: one for each stage with an operator.
        averaged: the number of images that the fields are averaged over.
        image: `[C, H, W]`; the kernels are computed for it.
        pixels: the positions in `image` whose kernels are shown.
        shown: the operator whose kernels and tap weights are shown.
        kernels: at `pixels`.
        taps: the tap weights.
    """

    name: str
    fields: list[Field]
    averaged: int
    image: Tensor
    pixels: list[Pixel]
    shown: StageOperator
    kernels: Windows | str
    taps: TapWeights | str


def default_pixels(height: int, width: int) -> list[Pixel]:
    """The centre, and the two pixels that lie 3/8 of the side to its left and above it."""
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
    """Compute the content of the figure of `network`.

    Args:
        network: with operators in `stages`.
        name: of the operator, for the caption.
        stages: see `network`.
        images: `[B, C, H, W]`; the receptive fields are averaged over them.
        image: `[C, H, W]`; the kernels are computed for it.
        pixels: positions in `image` whose kernels are shown (`default_pixels`).
        stage: whose kernels and taps are shown (the first of the network).

    Raises:
        UserError: for a stage without an operator, or a pixel outside the image.
    """
    found = stage_operators(network.eval(), stages)
    if not found:
        raise UserError(
            "the network has no operator at the expected positions: `conv2` of the blocks of layer1 to layer4"
        )
    shown = next((one for one in found if one.stage == (found[0].stage if stage is None else stage)), None)
    if shown is None:
        known = ", ".join(str(one.stage) for one in found)
        raise UserError(f"--stage {stage} has no operator; choose from {known}")
    height, width = image.shape[1:]
    chosen = default_pixels(height, width) if pixels is None else list(pixels)
    for row, column in chosen:
        if not (0 <= row < height and 0 <= column < width):
            raise UserError(f"--pixel {row},{column} is outside the image of {height} x {width}")
    pssa = find_pssa(shown.operator)
    return Content(
        name=name,
        fields=[_field(network, operator, images) for operator in found],
        averaged=len(images),
        image=image,
        pixels=chosen,
        shown=shown,
        kernels=_kernels(network, shown, image, chosen),
        taps="it has no shifted taps" if pssa is None else tap_weights(pssa),
    )


def _field(network: nn.Module, at: StageOperator, images: Tensor) -> Field:
    """The field in parts, because each part keeps the activations of the whole network."""
    total, centre = torch.zeros(images.shape[-2:]), (0, 0)
    for part in images.split(TAKEN_AT_ONCE):
        field, centre = effective_receptive_field(network, at.operator, part)
        total += field.float() * len(part) / len(images)
    if not total.isfinite().all():
        raise UserError(f"the gradient at {at.path} is not finite: these weights come from a run that diverged")
    return Field(at.stage, at.path, total, centre, side_with(total, centre, SHARE))


def _kernels(network: nn.Module, at: StageOperator, image: Tensor, pixels: Sequence[Pixel]) -> Windows | str:
    atomic = atomic_form(at.operator)
    if isinstance(atomic, str):
        return atomic
    with torch.no_grad():
        x, y = run_to(network, at.operator, image[None])
    return windows(atomic, x[0], positions(image, y, pixels))
