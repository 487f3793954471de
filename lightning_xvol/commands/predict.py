"""`python -m lightning_xvol predict`: what a trained network sees in pictures: objects, or classes with scores."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_xvol.commandline import at_least, columns
from lightning_xvol.commands.arguments import add_checkpoint, check_paths, fraction, writing
from lightning_xvol.config import registry
from lightning_xvol.errors import ExitCode, UserError
from lightning_xvol.ledger.files import write_by, write_text

SUMMARY = "what a trained network sees in pictures: objects, or classes with scores"
DESCRIPTION = (
    "With a detector: draw the objects that it finds in a picture, and print the name, score and box (in pixels) of "
    "each. With a classifier: print the best classes of a picture, or of every picture in a folder, with their scores "
    "from 0 to 1, and write them as CSV."
)
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
SCORE = 0.5
TOP = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint(parser)
    parser.add_argument(
        "--image", type=Path, required=True, metavar="PATH", help="the picture; for a classifier also a folder of them"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the file to write: a picture (default: IMAGE.detections.png in the same folder), or for a classifier a "
        "CSV file (default: IMAGE.classes.csv in the same folder, or classes.csv in the folder of pictures)",
    )
    parser.add_argument(
        "--score", type=fraction, metavar="S", help=f"lowest score of an object to show (default: {SCORE})"
    )
    parser.add_argument(
        "--top", type=at_least(1, "top"), metavar="N", help=f"number of classes of each picture (default: {TOP})"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder that holds data sets; only for an old checkpoint without the shape of its images",
    )


def run(parsed: argparse.Namespace) -> int:
    """Read the checkpoint, and detect or classify, whatever it was trained for."""
    if not parsed.image.exists():
        raise UserError(f"no picture at {str(parsed.image)!r}")
    from lightning_xvol.ledger.checkpoints import read_cell

    content, about = read_cell(parsed.checkpoint)
    task = _task(about["config"])
    if task == "classification":
        return _classify(parsed, content, about)
    if task == "regression":
        raise UserError(
            f"{str(parsed.checkpoint)!r} holds a network for regression, which sees no pictures; expected the "
            "checkpoint of a detector or a classifier"
        )
    return _detect(parsed, content, about)


def _task(config: Mapping[str, Any]) -> str | None:
    """The task of the run with the stored `config`; None if it does not tell."""
    data = config.get("data")
    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str):
        return None
    options = data.get("options")
    return registry.task(data["name"], options if isinstance(options, Mapping) else {})


def _detect(parsed: argparse.Namespace, content: Mapping[str, Any], about: Mapping[str, Any]) -> int:
    """Detect, draw, write, and print one line for each object."""
    if parsed.top is not None:
        raise UserError("--top is for classifiers, and this checkpoint holds a detector; --score says what it shows")
    if not parsed.image.is_file():
        raise UserError(f"--image {str(parsed.image)!r} is a folder, and a detector takes one picture; name a file")
    out = _output(parsed, parsed.image.with_name(f"{parsed.image.stem}.detections.png"), FORMATS)
    score = SCORE if parsed.score is None else parsed.score
    from lightning_xvol.data.pictures import read_picture
    from lightning_xvol.detection.predict import detect, detector_in, draw

    picture = read_picture(parsed.image, upright=True)  # cameras store photographs on their side
    trained = detector_in(content, about, parsed.checkpoint, parsed.trust)
    found = detect(trained, picture, score)
    drawn = draw(picture, found, trained.classes)
    with writing(out):
        write_by(out, lambda file: drawn.save(file, FORMATS[out.suffix.lower()]))
    for detection in found:
        box = ", ".join(f"{side:.1f}" for side in detection["box"])
        print(f"{trained.classes[detection['label'] - 1]:<16} {detection['score']:.3f}  {box}")
    print(f"{len(found)} objects with a score of at least {score:g}; wrote {out}")
    return ExitCode.SUCCESS


def _classify(parsed: argparse.Namespace, content: Mapping[str, Any], about: Mapping[str, Any]) -> int:
    """Print the best classes of each picture, and write them. A picture of a folder that cannot be read is told."""
    if parsed.score is not None:
        raise UserError("--score is for detectors, and this checkpoint holds a classifier; --top says what it shows")
    folder = parsed.image.is_dir()
    beside = parsed.image / "classes.csv" if folder else parsed.image.with_name(f"{parsed.image.stem}.classes.csv")
    from lightning_xvol.data.pictures import find_pictures
    from lightning_xvol.fusion.weights import trained_in
    from lightning_xvol.training.classify import classify, csv_text

    trained = trained_in(content, about, parsed.checkpoint, parsed.data_dir, parsed.trust)
    trained.network.float()
    out = _output(parsed, beside, (".csv",))
    listed, hidden = find_pictures(parsed.image) if folder else ([str(parsed.image)], 0)
    pictures = list(map(Path, listed))
    if not pictures:
        raise UserError(f"no pictures in {str(parsed.image)!r}; expected files such as cat.jpg or cat.png")
    guessed, unread = [], 0
    for path in pictures:
        try:
            best = classify(trained, path, parsed.top or TOP)
        except UserError as error:
            if not folder:
                raise
            print(f"error: {error}", file=sys.stderr)
            unread += 1
            continue
        name = str(path.relative_to(parsed.image)) if folder else str(path)
        guessed.append((name, best))
        rows = [(f"  {guess.score:.3f}", _printable(guess.name)) for guess in best]
        print("\n".join([_printable(name), *columns(rows)]), flush=True)
    with writing(out):
        write_text(out, csv_text(guessed))
    skipped = f"; {hidden} hidden files or folders are no pictures" if hidden else ""
    print(f"{len(guessed)} picture{'s' * (len(guessed) != 1)} classified{skipped}; wrote {out}")
    if unread:
        print(f"{unread} of {len(pictures)} pictures could not be read", file=sys.stderr)
    return ExitCode.FAILURE if unread else ExitCode.SUCCESS


def _output(parsed: argparse.Namespace, default: Path, suffixes: Any) -> Path:
    """The file to write, by --out or else `default`, checked before any work."""
    out: Path = parsed.out or default
    check_paths(parsed.checkpoint, out, default.name)
    if out.suffix.lower() not in suffixes:
        raise UserError(f"--out {str(out)!r} must end in {', '.join(suffixes)}")
    if out.exists() and out.samefile(parsed.image):
        raise UserError("--out and --image are the same file; name another output")
    return out


def _printable(name: str) -> str:
    """A name for a terminal: signs that control it, and bytes that are no letters, as their codes."""
    return name if name.isprintable() else ascii(name)[1:-1]
