"""Reading pictures from files, and finding them in folders.

Whatever is wrong with a file becomes one sentence with its path, whether it shows when the picture is opened, decoded,
turned or converted.
"""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy
import PIL.Image
from PIL.ExifTags import Base
from torchvision.datasets.folder import IMG_EXTENSIONS

from lightning_xvol.data.base import DataError
from lightning_xvol.ledger.files import open_bytes
from lightning_xvol.processes import rank

log = logging.getLogger(__name__)

MOST_PIXELS = 120_000_000
"""Larger pictures are refused before they are decoded. One of this size takes 0.5 GiB, and twice that to convert."""

SYSTEM_FOLDERS = frozenset({"@eaDir", "#recycle", "@Recycle", "@Recently-Snapshot", "__MACOSX", "lost+found"})
"""Folders that a network drive, an archive or a file system makes beside the user's own."""

_TURNS = {  # by the EXIF orientation; 1 is upright
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


def read_picture(path: Path, what: str = "the picture", *, upright: bool = False) -> PIL.Image.Image:
    """The picture at `path` in RGB; the first one of an animation. Transparency is ignored.

    Args:
        path: the file. Its content tells the format, not its suffix.
        what: what the message of an error calls it.
        upright: whether the picture is turned as its EXIF orientation says. An orientation that cannot be read, or is
            not 1 to 8, turns nothing.

    Raises:
        DataError: for a file that is missing, torn, no picture, or larger than `MOST_PIXELS`.
    """
    try:
        # Pillow warns of much that does no harm, and of pictures whose size we check ourselves.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _open(path, upright)
    # For a torn file, Pillow's decoders raise OSError, SyntaxError, ValueError and others.
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"cannot read {what} {str(path)!r}: {reason[:300]}; replace it or remove it") from error


def _open(path: Path, upright: bool) -> PIL.Image.Image:
    with open_bytes(path) as file, PIL.Image.open(file) as picture:
        if picture.format == "EPS":  # Pillow would start Ghostscript
            raise ValueError("it is an EPS file, which is a program; convert it to PNG")
        if picture.width * picture.height > MOST_PIXELS:
            raise ValueError(
                f"it claims {picture.width} x {picture.height} pixels, more than the {MOST_PIXELS:,} that are read"
            )
        picture.load()
        turn = _TURNS.get(_orientation(picture)) if upright else None
        converted = _to_rgb(picture)
    return converted if turn is None else converted.transpose(turn)


def _to_rgb(picture: PIL.Image.Image) -> PIL.Image.Image:
    """The picture in RGB. A picture that is RGB already is not copied, as `convert` would."""
    if picture.mode.startswith("I;16"):  # `convert` would cut off everything above 255
        return PIL.Image.fromarray((numpy.asarray(picture) >> 8).astype(numpy.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {picture.mode} have no scale; expected 8 or 16 bits a channel")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _orientation(picture: PIL.Image.Image) -> int:
    """The EXIF orientation of a picture. Its other tags are not looked at: cameras and editors write broken ones."""
    try:
        return int(picture.getexif().get(Base.Orientation, 1))
    except Exception:
        return 1


class Found(NamedTuple):
    """The pictures below a folder.

    Attributes:
        paths: of the pictures, in the order of torchvision's `make_dataset`.
        hidden: how many hidden pictures and folders were skipped.
    """

    paths: list[str]
    hidden: int


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not the user's: `.ipynb_checkpoints`, `._x.JPEG`, `@eaDir`."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture, by its suffix."""
    return name.lower().endswith(IMG_EXTENSIONS)


def find_pictures(folder: Path) -> Found:
    """All pictures in `folder` and the folders in it, without hidden ones at any depth; links are followed.

    Raises:
        OSError: for a folder that cannot be listed.
    """
    listed, hidden = [], 0
    for root, folders, files in _walk(os.fspath(folder)):
        hidden += sum(map(is_hidden, folders)) + sum(is_hidden(name) and is_picture(name) for name in files)
        folders[:] = [name for name in folders if not is_hidden(name)]
        listed.append((root, sorted(name for name in files if is_picture(name) and not is_hidden(name))))
    return Found([f"{root}/{name}" for root, names in sorted(listed) for name in names], hidden)


def count_hidden(folder: Path) -> int:
    """How many hidden folders lie beside the class folders in `folder`."""
    return sum(entry.is_dir() and is_hidden(entry.name) for entry in os.scandir(folder))


@functools.cache
def say_hidden(root: Path, count: int) -> None:
    """Say how many hidden pictures and folders a data set skips: once in a process, and in one process of a run."""
    if count and rank() == 0:
        log.warning("skipped %d hidden pictures and folders in %r, such as .ipynb_checkpoints", count, os.fspath(root))


def _walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` through links, where a link to a folder above itself does not lead around for ever."""
    above: dict[str, frozenset[str]] = {}
    for root, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        here = above.pop(root, frozenset()) | {os.path.realpath(root)}
        folders[:] = [name for name in folders if os.path.realpath(f"{root}/{name}") not in here]
        yield root, folders, files
        above.update({f"{root}/{name}": here for name in folders})


def _raise(error: OSError) -> None:
    raise error
