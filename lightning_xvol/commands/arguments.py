"""Arguments, checks and errors that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from lightning_xvol.commandline import DATA_DIR_HELP, add_trust
from lightning_xvol.errors import UserError


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add --checkpoint and --trust."""
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="FILE",
        help="the checkpoint of a cell, runs/cells/<id>/checkpoints/step=N.ckpt",
    )
    add_trust(parser, "--checkpoint")


def add_checkpoint_and_out(parser: argparse.ArgumentParser, out: str) -> None:
    """Add --checkpoint, --trust, --out with the help text `out`, and --data-dir."""
    add_checkpoint(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=out)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help=DATA_DIR_HELP)


def add_tolerance(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --tolerance. Its value is None if it is not given; its help says `default`."""
    parser.add_argument(
        "--tolerance", type=tolerance, metavar="T",
        help=f"largest accepted difference, relative to the largest output (default: {default})",
    )  # fmt: skip


def _number(most: float, expected: str) -> Callable[[str], float]:
    """An argparse type: a number from 0 to `most`, which errors call `expected`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} must be {expected}")
        return value

    return parse


tolerance = _number(sys.float_info.max, "a number of at least 0, such as 1e-4")
fraction = _number(1.0, "a number from 0 to 1, such as 0.5")


def check_paths(checkpoint: Path, out: Path, example: str) -> None:
    """Check both paths before any work.

    Raises:
        UserError: for a missing checkpoint, or an output that cannot be written or would overwrite the checkpoint.
    """
    if not checkpoint.is_file():
        raise UserError(
            f"no checkpoint at {str(checkpoint)!r}; a cell has it at runs/cells/<id>/checkpoints/step=N.ckpt, unless "
            "it was restored from an archive; --force runs such a cell again"
        )
    if not out.parent.is_dir():
        raise UserError(f"--out {str(out)!r}: there is no folder {str(out.parent)!r}")
    if out.is_dir():
        raise UserError(f"--out {str(out)!r} is a folder; name a file such as {example} in it")
    if out.exists() and out.samefile(checkpoint):
        raise UserError("--out and --checkpoint are the same file; name another output")


def check_matplotlib(command: str) -> None:
    """Raise a `UserError` if matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError(f"{command} draws with matplotlib, which is not installed: pip install matplotlib")


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """Turn an `OSError` into a `UserError` that names `out`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write --out {str(out)!r}: {error.strerror or error}") from error
