"""The command line: a subcommand per mode, each with only the flags that it has. Nothing here imports torch."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import shapes
from lightning_xvol.commandline import Parser, at_least
from lightning_xvol.config import registry

ALL = "all"
DTYPES = ("float32", "float64", "bfloat16")
SMOKE_ROUNDS = 2


def make_parser() -> argparse.ArgumentParser:
    """Each mode is a module of this package with a function `run`."""
    parser = Parser(
        prog="python -m benchmarks",
        description="Measure what operators, networks and data loaders cost on this machine.",
    )
    modes = parser.add_subparsers(dest="mode", required=True, metavar="MODE", parser_class=Parser)

    def add(name: str, measures: str) -> Parser:
        files = "Write CSV and Markdown files, whose names contain the device, torch's version and the settings."
        parser: Parser = modes.add_parser(name, help=measures, description=f"Measure {measures}. {files}")
        return parser

    mode = add("operators", "time, memory and multiply-adds of operators at the shapes of a ResNet-50")
    _add_operator_flag(mode, [ALL])
    _add_shapes_flag(mode, shapes.DEFAULT)
    _add_machine_flags(mode)

    mode = add("core", "PSSA's arithmetic alone in two forms, and whole operators that contain it")
    _add_shapes_flag(mode, shapes.DEFAULT)
    _add_machine_flags(mode)

    mode = add("network", "a network with X-volution in conv5_x against the plain one")
    mode.add_argument(
        "--backbone", metavar="NAME",
        help="a registered backbone, timm:NAME, torchvision:NAME or package.module:Class (default: resnet50, with "
        "--smoke small_resnet)",
    )  # fmt: skip
    _add_machine_flags(mode, rounds=9)

    mode = add("scaling", "the time of operators against the number of pixels, with a figure")
    subject = mode.add_mutually_exclusive_group()
    _add_operator_flag(subject, ["pssa", "xvolution", "self_attention"])
    subject.add_argument(
        "--core", action="store_true", help="PSSA's arithmetic and global attention, instead of operators"
    )
    _add_machine_flags(mode)

    mode = add("growth", "time and memory of a training step against batch, pixels and depth, with a figure")
    _add_operator_flag(mode, ["convolution", "pssa", "xvolution", "self_attention"])
    _add_machine_flags(mode, rounds=21)

    mode = add("data", "the ImageNet loader against torchvision's reference pipeline, on generated pictures")
    _add_number_flag(mode, "--workers", 0, 2, "processes of each loader (default: 2)")
    _add_number_flag(mode, "--images", 1, None, "generated pictures (default: 512)")
    _add_number_flag(mode, "--batch-size", 1, None, "images per batch in both loaders (default: 32)")
    _add_device_flags(mode)
    _add_number_flag(mode, "--seed", 0, 0, "seed of the order and of the pictures (default: 0)")
    _add_common_flags(mode)

    mode = add("overhead", "a training step of this package against a bare PyTorch loop")
    _add_operator_flag(mode, ["convolution", "xvolution"])
    _add_threads_flag(mode)
    _add_common_flags(mode)

    mode = add("bandwidth", "PSSA's Triton kernels on a GPU against a copy and against the other kernels")
    _add_shapes_flag(mode, shapes.BANDWIDTH)
    _add_tensor_flags(mode)
    _add_common_flags(mode)
    mode.set_defaults(device="cuda")
    return parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What the command line asks for, with defaults filled in and names looked up.

    Raises:
        UserError: for an unknown flag, name or shape.
    """
    parsed = make_parser().parse_args(arguments)
    parsed.out = parsed.out or Path("runs-smoke" if parsed.smoke else "runs", "benchmarks")
    parsed.rounds = parsed.rounds or (SMOKE_ROUNDS if parsed.smoke else parsed.default_rounds)
    if "backbone" in parsed:
        parsed.backbone = parsed.backbone or ("small_resnet" if parsed.smoke else "resnet50")
        registry.lookup("backbone", parsed.backbone)
    if "operators" in parsed:
        parsed.operators = _operators(parsed.operators or parsed.default_operators)
    if parsed.mode == "growth":
        parsed.sizes = shapes.SMOKE_GROWTH if parsed.smoke else shapes.GROWTH
    if "shapes" in parsed:
        default = shapes.SMOKE if parsed.smoke else parsed.default_shapes
        parsed.shapes = shapes.parse(parsed.shapes or default)
    return parsed


def plan(parsed: argparse.Namespace) -> str:
    """What --dry-run prints."""
    lines = [f"{parsed.mode}: {parsed.rounds} rounds, files in {parsed.out}"]
    lines += [f"shape {shape.name}: {shape}" for shape in getattr(parsed, "shapes", ())]
    if "sizes" in parsed:
        lines += [f"{axis}: {', '.join(map(str, sizes))}" for axis, sizes in parsed.sizes.axes.items()]
    if getattr(parsed, "core", False):
        lines.append("PSSA's arithmetic alone")
    elif "backbone" in parsed:
        lines.append(f"backbone: {parsed.backbone}")
    elif "operators" in parsed:
        lines.append(f"operators: {', '.join(parsed.operators)}")
    elif "workers" in parsed:
        lines.append(f"{parsed.workers} workers")
    return "\n".join(lines)


def _operators(texts: Iterable[str]) -> list[str]:
    """The names that `--operator` gives, each once and in order.

    Raises:
        UserError: for a name that is neither registered nor an import path.
    """
    names: dict[str, None] = {}
    for text in texts:
        if text != ALL:
            registry.lookup("operator", text)
        names.update(dict.fromkeys(registry.OPERATORS if text == ALL else [text]))
    return list(names)


def _add_operator_flag(parser: Any, default: Sequence[str]) -> None:
    parser.add_argument(
        "--operator",
        action="append",
        metavar="NAME",
        dest="operators",
        help=f"a registered operator, package.module:Class, or all; repeatable (default: {', '.join(default)})",
    )
    parser.set_defaults(default_operators=default)


def _add_shapes_flag(parser: argparse.ArgumentParser, default: Sequence[str]) -> None:
    known = ", ".join([*shapes.GROUPS, *shapes.SHAPES])
    parser.add_argument(
        "--shapes",
        nargs="+",
        metavar="SHAPE",
        help=f"any of {known} (224 and 800 x 1333 are the sizes of the image in pixels), or BxCxHxW (default: "
        f"{' '.join(default)})",
    )
    parser.set_defaults(default_shapes=default)


def _add_machine_flags(parser: argparse.ArgumentParser, rounds: int = 7) -> None:
    """The flags for the device, the tensors, the rounds and the files."""
    _add_device_flags(parser)
    _add_tensor_flags(parser)
    _add_common_flags(parser, rounds)


def _add_device_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda if there is one, else cpu")
    _add_threads_flag(parser)


def _add_threads_flag(parser: argparse.ArgumentParser) -> None:
    _add_number_flag(parser, "--threads", 1, 1, "CPU threads (default: 1)")


def _add_tensor_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="type of weights and inputs (default: float32)"
    )
    parser.add_argument("--channels-last", action="store_true", help="use the memory format channels_last")
    _add_number_flag(parser, "--seed", 0, 0, "seed of the order, weights and inputs (default: 0)")


def _add_common_flags(parser: argparse.ArgumentParser, rounds: int = 7) -> None:
    _add_number_flag(parser, "--rounds", 1, None, f"how often each thing is measured (default: {rounds})")
    parser.set_defaults(default_rounds=rounds)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="output folder (default: runs/benchmarks, with --smoke runs-smoke/benchmarks)",
    )
    parser.add_argument("--smoke", action="store_true", help="measure little and quickly, to see that it works")
    parser.add_argument("--dry-run", action="store_true", help="say what would be measured, and stop")


def _add_number_flag(parser: argparse.ArgumentParser, flag: str, least: int, default: int | None, text: str) -> None:
    kind = at_least(least, flag.removeprefix("--"))
    parser.add_argument(flag, type=kind, default=default, metavar="N", help=text)
