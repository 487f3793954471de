"""`python -m lightning_xvol export`: a trained cell's checkpoint to ONNX or a saved `torch.export` program."""

from __future__ import annotations

import argparse
import importlib.util

from lightning_xvol.commands.arguments import add_checkpoint_and_out, add_tolerance, check_paths, writing
from lightning_xvol.errors import ExitCode, UserError

SUMMARY = "write a trained network as ONNX or torch.export"
DESCRIPTION = (
    "Fuse the network of a trained cell and write it as one graph that takes any batch size, height and width. The "
    "command loads the graph again and compares it with the trained network at three sizes. If the outputs differ by "
    "more than the tolerance, it writes nothing and exits with code 1. The graph expects images normalised as in "
    "training."
)
NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch-export": ()}
TOLERANCE = 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_checkpoint_and_out(parser, "the file to write, such as model.onnx or model.pt2")
    parser.add_argument(
        "--format",
        choices=NEEDS,
        default="onnx",
        help="onnx, checked with onnxruntime, or torch-export, read by torch.export.load (default: %(default)s)",
    )
    parser.add_argument(
        "--no-fuse", action="store_true", help="export the operators as they were trained, with their batch norms"
    )
    add_tolerance(parser, default=f"{TOLERANCE:g}")


def run(parsed: argparse.Namespace) -> int:
    """Trace, load again, compare and write; 1 if the difference is too large."""
    check_paths(parsed.checkpoint, parsed.out, "model.onnx")
    _check_packages(parsed.format)
    from lightning_xvol.config.schema import to_dict
    from lightning_xvol.fusion import export as exporting
    from lightning_xvol.fusion.weights import read_trained
    from lightning_xvol.ledger.files import write_bytes

    trained = read_trained(parsed.checkpoint, parsed.data_dir, parsed.trust)
    network = trained.network.float()
    exported = network
    if not parsed.no_fuse:
        exported, done = exporting.fused(network)
        print(done)
    program = exporting.trace(exported, trained.image_shape)
    metadata = {
        "config": to_dict(trained.config),
        "cell_id": trained.run.get("cell_id"),
        "step": trained.run.get("step"),
        "fused": not parsed.no_fuse,
    }
    channels = trained.image_shape[0]
    print(f"image [batch, {channels}, height, width] to logits [batch, {trained.num_classes}], float32", end="")
    if parsed.format == "onnx":
        print(f", ONNX opset {exporting.OPSET}")
        content, name = exporting.to_onnx(program, metadata), "onnxruntime"
        loaded = exporting.load_onnx(content)
    else:
        print()
        content, name = exporting.to_archive(program, metadata), "the program loaded again"
        loaded = exporting.load_archive(content)
    shapes = exporting.check_sizes(trained.image_shape)
    found = exporting.compare(loaded, network, shapes)
    sizes = ", ".join("x".join(map(str, shape)) for shape in shapes)
    print(f"{name} against the trained network at {sizes}:")
    print(f"largest difference {found.absolute:.2e}, {found.relative:.2e} of the largest output")
    limit = TOLERANCE if parsed.tolerance is None else parsed.tolerance
    if not found.relative <= limit:  # NaN too
        print(f"that is above the tolerance {limit:g}; wrote nothing")
        return ExitCode.FAILURE
    with writing(parsed.out):
        write_bytes(parsed.out, content)
    print(f"within the tolerance {limit:g}; wrote {parsed.out} ({len(content) / 1e6:.1f} MB)")
    return ExitCode.SUCCESS


def _check_packages(kind: str) -> None:
    missing = [name for name in NEEDS[kind] if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format {kind} needs {', '.join(missing)}: pip install {' '.join(missing)}, "
            "or choose --format torch-export"
        )
