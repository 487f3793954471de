"""What the commands that read a checkpoint share."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from lightning_xvol.errors import UserError


def add_checkpoint(parser: argparse.ArgumentParser, output: str) -> None:
    """--checkpoint and --output, of which the help says `output`, and --data-dir."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="a cell's checkpoints/step=N.ckpt"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=output)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder that holds data sets (default: data)")


def tolerance(text: str) -> float:
    """An argparse type: a number from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of at least 0, such as 1e-4")
    return value


def check_paths(checkpoint: Path, output: Path, example: str, flag: str = "--output") -> None:
    """Before the work, not after it; `flag` names the output.

    Raises:
        UserError: for a checkpoint that is not there, or an output that cannot be written or would destroy it.
    """
    if not checkpoint.is_file():
        raise UserError(f"no checkpoint at {str(checkpoint)!r}; a cell has it as checkpoints/step=N.ckpt")
    if not output.parent.is_dir():
        raise UserError(f"{flag} {str(output)!r}: there is no folder {str(output.parent)!r}")
    if output.is_dir():
        raise UserError(f"{flag} {str(output)!r} is a folder; name a file such as {example} in it")
    if output.exists() and output.samefile(checkpoint):
        raise UserError(f"{flag} and --checkpoint are one file; the checkpoint stays as it is")
