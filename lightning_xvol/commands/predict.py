"""`python -m lightning_xvol predict`: what a trained detector finds in a picture of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lightning_xvol.commands.arguments import check_paths
from lightning_xvol.errors import ExitCode, UserError
from lightning_xvol.ledger.files import write_by

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
SCORE = 0.5


def add_to(commands: Any) -> None:
    """The arguments of this command."""
    parser = commands.add_parser(
        "predict",
        help="draw what a detector finds in a picture",
        description="Draw what a trained detector finds in a picture, and print it: name, score, box in pixels.",
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="a cell's checkpoints/step=N.ckpt"
    )
    parser.add_argument("--image", type=Path, required=True, metavar="FILE", help="the picture")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the picture to write (default: IMAGE.detections.png beside it)"
    )
    parser.add_argument(
        "--score",
        type=_fraction,
        default=SCORE,
        metavar="S",
        help="least score to show (default: %(default)s)",
    )


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 0 to 1, such as 0.5")
    return value


def run(parsed: argparse.Namespace) -> int:
    """Detect, draw, write, and print a line for each object."""
    if not parsed.image.is_file():
        raise UserError(f"no picture at {str(parsed.image)!r}")
    out = parsed.out or parsed.image.with_name(f"{parsed.image.stem}.detections.png")
    check_paths(parsed.checkpoint, out, "detections.png", flag="--out")
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"--out {str(out)!r} must end in {', '.join(FORMATS)}")
    if out.exists() and out.samefile(parsed.image):
        raise UserError("--out and --image are one file; the picture stays as it is")
    from PIL.ImageOps import exif_transpose

    from lightning_xvol.data.pictures import read_picture
    from lightning_xvol.detection.predict import detect, draw, read_detector

    picture = exif_transpose(read_picture(parsed.image))  # cameras store photographs lying on their side
    trained = read_detector(parsed.checkpoint)
    found = detect(trained, picture, parsed.score)
    drawn = draw(picture, found, trained.classes)
    try:
        write_by(out, lambda file: drawn.save(file, FORMATS[out.suffix.lower()]))
    except OSError as error:
        raise UserError(f"cannot write --out {str(out)!r}: {error.strerror or error}") from error
    for detection in found:
        box = ", ".join(f"{side:.1f}" for side in detection["box"])
        print(f"{trained.classes[detection['label'] - 1]:<16} {detection['score']:.3f}  {box}")
    print(f"{len(found)} objects with a score of at least {parsed.score:g}; wrote {out}")
    return ExitCode.SUCCESS
