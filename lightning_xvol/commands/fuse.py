"""`python -m lightning_xvol fuse`: a trained cell's checkpoint to fused weights in a safetensors file."""

from __future__ import annotations

import argparse

from lightning_xvol.commands.arguments import add_checkpoint_and_out, add_tolerance, check_paths, writing
from lightning_xvol.errors import ExitCode

SUMMARY = "fold each operator of a trained network into one module without batch norms"
DESCRIPTION = (
    "Fold each operator of a trained cell into one module without batch norms, and compare the outputs on random "
    "images. Write the weights as safetensors with the configuration in the header. "
    "lightning_xvol.fusion.weights.load_fused reads the file. If the outputs differ by more than the tolerance, the "
    "command writes nothing and exits with code 1."
)
TOLERANCES = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
IMAGES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_and_out(parser, "the .safetensors file to write")
    add_tolerance(parser, default=", ".join(f"{limit:g} in {dtype}" for dtype, limit in TOLERANCES.items()))
    parser.add_argument(
        "--block-norms", action="store_true", help="also fold the batch norm that follows the operator in its block"
    )


def run(parsed: argparse.Namespace) -> int:
    """Fuse, compare and write; 1 if the difference is too large."""
    check_paths(parsed.checkpoint, parsed.out, "fused.safetensors")
    from lightning_xvol.fusion import fuse, fusion_report
    from lightning_xvol.fusion.weights import random_images, read_trained, save_fused

    trained = read_trained(parsed.checkpoint, parsed.data_dir, parsed.trust)
    images = random_images(trained, IMAGES)
    report = fusion_report(trained.network, images, block_norms=parsed.block_norms)
    print(report)
    dtype = str(images.dtype).removeprefix("torch.")
    limit = TOLERANCES[dtype] if parsed.tolerance is None else parsed.tolerance
    if not report.overall.relative <= limit:  # NaN too
        print(f"{report.overall.relative:.2e} overall is above the tolerance {limit:g}; wrote nothing")
        return ExitCode.FAILURE
    with writing(parsed.out):
        save_fused(parsed.out, fuse(trained.network, block_norms=parsed.block_norms), trained, parsed.block_norms)
    print(f"within the tolerance {limit:g}; wrote {parsed.out}")
    return ExitCode.SUCCESS
