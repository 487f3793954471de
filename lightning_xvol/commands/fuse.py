"""`python -m lightning_xvol fuse`: a trained cell's checkpoint to fused weights in a safetensors file."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from lightning_xvol.errors import UserError

TOLERANCES = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
IMAGES = 4


def add_to(commands: Any) -> None:
    """The arguments of this command."""
    tolerances = ", ".join(f"{tolerance:g} in {dtype}" for dtype, tolerance in TOLERANCES.items())
    parser = commands.add_parser(
        "fuse",
        help="fold a trained network's operators",
        description=(
            "Fold the operators of a trained cell, compare on random images, and write the weights as safetensors with "
            "the configuration in the header, which lightning_xvol.fusion.weights.load_fused reads. Where the outputs "
            "differ by more than the tolerance nothing is written and the exit code is 1."
        ),
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FILE", help="a cell's checkpoints/step=N.ckpt"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument(
        "--tolerance",
        type=_tolerance,
        metavar="T",
        help=f"largest difference over the largest output that is let through (default: {tolerances})",
    )
    parser.add_argument(
        "--block-norms", action="store_true", help="fold also the batch norm that follows the operator in its block"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder that holds data sets, for checkpoints without image size",
    )


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of at least 0, such as 1e-4")
    return value


def run(parsed: argparse.Namespace) -> int:
    """Fuse, compare, write; 1 where the difference is too large."""
    _check_paths(parsed.checkpoint, parsed.output)
    from lightning_xvol.fusion import fuse, fusion_report
    from lightning_xvol.fusion.weights import random_images, read_trained, save_fused

    trained = read_trained(parsed.checkpoint, parsed.data_dir)
    images = random_images(trained, IMAGES)
    report = fusion_report(trained.network, images, block_norms=parsed.block_norms)
    print(report)
    dtype = str(images.dtype).removeprefix("torch.")
    tolerance = TOLERANCES[dtype] if parsed.tolerance is None else parsed.tolerance
    if not report.overall.relative <= tolerance:  # NaN too
        print(f"{report.overall.relative:.2e} overall is above the tolerance {tolerance:g}; wrote nothing")
        return 1
    try:
        save_fused(parsed.output, fuse(trained.network, block_norms=parsed.block_norms), trained, parsed.block_norms)
    except OSError as error:
        raise UserError(f"cannot write --output {str(parsed.output)!r}: {error.strerror}") from error
    print(f"within the tolerance {tolerance:g}; wrote {parsed.output}")
    return 0


def _check_paths(checkpoint: Path, output: Path) -> None:
    """Before the work, not after it."""
    if not checkpoint.is_file():
        raise UserError(f"no checkpoint at {str(checkpoint)!r}; a cell has it as checkpoints/step=N.ckpt")
    if not output.parent.is_dir():
        raise UserError(f"--output {str(output)!r}: there is no folder {str(output.parent)!r}")
    if output.is_dir():
        raise UserError(f"--output {str(output)!r} is a folder; name a file such as fused.safetensors in it")
    if output.exists() and output.samefile(checkpoint):
        raise UserError("--output and --checkpoint are one file; the checkpoint stays as it is")
