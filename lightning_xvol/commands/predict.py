"""`python -m lightning_xvol predict`: runs a trained detector on a picture and draws its detections."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_xvol.commands.arguments import add_checkpoint, check_paths, fraction, writing
from lightning_xvol.errors import ExitCode, UserError
from lightning_xvol.ledger.files import write_by

SUMMARY = "draw what a detector finds in a picture"
DESCRIPTION = (
    "Draw the objects that a trained detector finds in a picture. Print the name, score and box (in pixels) of each."
)
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
SCORE = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument("--image", type=Path, required=True, metavar="FILE", help="the picture")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the picture to write (default: IMAGE.detections.png in the same folder)",
    )
    parser.add_argument(
        "--score", type=fraction, default=SCORE, metavar="S", help="lowest score to show (default: %(default)s)"
    )


def run(parsed: argparse.Namespace) -> int:
    """Detect, draw, write, and print one line for each object."""
    if not parsed.image.is_file():
        raise UserError(f"no picture at {str(parsed.image)!r}")
    out = parsed.out or parsed.image.with_name(f"{parsed.image.stem}.detections.png")
    check_paths(parsed.checkpoint, out, "detections.png", flag="--out")
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"--out {str(out)!r} must end in {', '.join(FORMATS)}")
    if out.exists() and out.samefile(parsed.image):
        raise UserError("--out and --image are the same file; name another output")
    from PIL.ImageOps import exif_transpose

    from lightning_xvol.data.pictures import read_picture
    from lightning_xvol.detection.predict import detect, draw, read_detector

    picture = exif_transpose(read_picture(parsed.image))  # cameras store photographs on their side
    trained = read_detector(parsed.checkpoint, parsed.trust)
    found = detect(trained, picture, parsed.score)
    drawn = draw(picture, found, trained.classes)
    with writing(out, "--out"):
        write_by(out, lambda file: drawn.save(file, FORMATS[out.suffix.lower()]))
    for detection in found:
        box = ", ".join(f"{side:.1f}" for side in detection["box"])
        print(f"{trained.classes[detection['label'] - 1]:<16} {detection['score']:.3f}  {box}")
    print(f"{len(found)} objects with a score of at least {parsed.score:g}; wrote {out}")
    return ExitCode.SUCCESS
