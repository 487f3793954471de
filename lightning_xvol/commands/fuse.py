"""`python -m lightning_xvol fuse`: a trained cell's checkpoint to fused weights in a safetensors file."""

from __future__ import annotations

import argparse
from typing import Any

from lightning_xvol.commands.arguments import add_checkpoint, check_paths, tolerance
from lightning_xvol.errors import ExitCode, UserError

TOLERANCES = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
IMAGES = 4


def add_to(commands: Any) -> None:
    """The arguments of this command."""
    tolerances = ", ".join(f"{limit:g} in {dtype}" for dtype, limit in TOLERANCES.items())
    parser = commands.add_parser(
        "fuse",
        help="fold a trained network's operators",
        description=(
            "Fold the operators of a trained cell, compare on random images, and write the weights as safetensors with "
            "the configuration in the header, which lightning_xvol.fusion.weights.load_fused reads. Where the outputs "
            "differ by more than the tolerance nothing is written and the exit code is 1."
        ),
    )
    add_checkpoint(parser, "the .safetensors file to write")
    parser.add_argument(
        "--tolerance",
        type=tolerance,
        metavar="T",
        help=f"largest difference over the largest output that is let through (default: {tolerances})",
    )
    parser.add_argument(
        "--block-norms", action="store_true", help="fold also the batch norm that follows the operator in its block"
    )


def run(parsed: argparse.Namespace) -> int:
    """Fuse, compare, write; 1 where the difference is too large."""
    check_paths(parsed.checkpoint, parsed.output, "fused.safetensors")
    from lightning_xvol.fusion import fuse, fusion_report
    from lightning_xvol.fusion.weights import random_images, read_trained, save_fused

    trained = read_trained(parsed.checkpoint, parsed.data_dir)
    images = random_images(trained, IMAGES)
    report = fusion_report(trained.network, images, block_norms=parsed.block_norms)
    print(report)
    dtype = str(images.dtype).removeprefix("torch.")
    limit = TOLERANCES[dtype] if parsed.tolerance is None else parsed.tolerance
    if not report.overall.relative <= limit:  # NaN too
        print(f"{report.overall.relative:.2e} overall is above the tolerance {limit:g}; wrote nothing")
        return ExitCode.FAILURE
    try:
        save_fused(parsed.output, fuse(trained.network, block_norms=parsed.block_norms), trained, parsed.block_norms)
    except OSError as error:
        raise UserError(f"cannot write --output {str(parsed.output)!r}: {error.strerror}") from error
    print(f"within the tolerance {limit:g}; wrote {parsed.output}")
    return ExitCode.SUCCESS
