"""`python -m lightning_xvol visualize`: what a trained network looks at, as one figure."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

from lightning_xvol.commandline import at_least
from lightning_xvol.commands.arguments import add_checkpoint_and_out, check_matplotlib, check_paths, writing
from lightning_xvol.errors import ExitCode, UserError
from lightning_xvol.visualize.style import FORMATS

SUMMARY = "draw what a trained network looks at"
DESCRIPTION = (
    "Draw three things: the effective receptive field of each stage with an operator; the dynamic kernel, and its "
    "static part, at some positions of an image; and the weights of the taps. Print the caption of the figure. The "
    "caption also names the panels that are left out because the operator does not have them."
)
IMAGES = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_and_out(parser, f"the figure to write: .{', .'.join(FORMATS)}")
    parser.add_argument(
        "--image", type=Path, metavar="FILE",
        help="the picture whose kernels are shown (default: the first image of the recipe's validation split)",
    )  # fmt: skip
    parser.add_argument(
        "--pixel", type=_pixel, action="append", metavar="ROW,COLUMN",
        help="a position in the image; up to three times (default: the centre, a point to its left and one above)",
    )  # fmt: skip
    parser.add_argument(
        "--stage", type=at_least(2, "stage"), metavar="N",
        help="stage whose kernels and taps are shown (default: the first)",
    )  # fmt: skip
    parser.add_argument(
        "--images", type=at_least(1, "images"), default=IMAGES, metavar="N",
        help="number of validation images over which receptive fields are averaged (default: %(default)s)",
    )  # fmt: skip


def _pixel(text: str) -> tuple[int, int]:
    row, _, column = text.partition(",")
    try:
        return int(row), int(column)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be ROW,COLUMN in pixels, such as 16,4") from error


def run(parsed: argparse.Namespace) -> int:
    """Compute, draw, write, and print the caption."""
    check_paths(parsed.checkpoint, parsed.out, "figure.pdf")
    if parsed.out.suffix.removeprefix(".") not in FORMATS:
        raise UserError(f"--out {str(parsed.out)!r} must end in .{', .'.join(FORMATS)}")
    if parsed.pixel is not None and len(parsed.pixel) > 3:
        raise UserError(f"--pixel was given {len(parsed.pixel)} times; the figure has room for 3")
    check_matplotlib("visualize")
    from lightning_xvol.config.registry import label
    from lightning_xvol.fusion.weights import read_trained
    from lightning_xvol.visualize.content import gather
    from lightning_xvol.visualize.figure import caption, compose, write

    trained = read_trained(parsed.checkpoint, parsed.data_dir, parsed.trust)
    images, image = _images(parsed, trained)
    config = trained.config
    content = gather(
        trained.network.float(), label("operator", config.operator.name), config.backbone.stages, images, image,
        pixels=parsed.pixel, stage=parsed.stage,
    )  # fmt: skip
    with writing(parsed.out):
        write(compose(content), parsed.out)
    print(textwrap.fill(caption(content), 100))
    print(f"wrote {parsed.out}")
    return ExitCode.SUCCESS


def _images(parsed: argparse.Namespace, trained: Any) -> tuple[Any, Any]:
    """The images for the receptive fields and the image for the kernels. Without data, a given picture is both."""
    from lightning_xvol.visualize.images import read_image, validation_images

    picture = None if parsed.image is None else read_image(parsed.image, trained.config.data, trained.image_shape)
    try:
        images = validation_images(trained.config.data, parsed.data_dir, parsed.images, trained.config.seed)
    except UserError as error:
        if picture is None:
            raise UserError(f"{error}; or give a picture with --image") from error
        images = picture[None]
    return images, images[0] if picture is None else picture
