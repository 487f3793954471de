"""Reading pictures from files."""

from __future__ import annotations

from pathlib import Path

import numpy
import PIL.Image

from lightning_xvol.data.base import DataError
from lightning_xvol.ledger.files import open_bytes


def read_picture(path: Path, what: str = "the picture") -> PIL.Image.Image:
    """The picture at `path` in RGB.

    Raises:
        DataError: for a missing or torn file; the message calls it `what`.
    """
    try:
        return _open(path)
    # For a torn file, Pillow's decoders raise OSError, SyntaxError, ValueError and others.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise DataError(f"cannot read {what} {str(path)!r}: {reason}; replace it or remove it") from error


def _open(path: Path) -> PIL.Image.Image:
    """The picture in RGB. A picture that is RGB already is not copied, as `convert` would."""
    with open_bytes(path) as file, PIL.Image.open(file) as picture:
        picture.load()
        if picture.mode.startswith("I;16"):  # `convert` would cut off everything above 255
            return PIL.Image.fromarray((numpy.asarray(picture) >> 8).astype(numpy.uint8)).convert("RGB")
        if picture.mode in ("I", "F"):
            raise ValueError(f"pixels of mode {picture.mode} have no scale; expected 8 or 16 bits a channel")
        return picture if picture.mode == "RGB" else picture.convert("RGB")
