"""`python -m lightning_xvol describe`: the network of a recipe, stage by stage, with parameters and multiply-adds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from lightning_xvol.commandline import add_config_flags, make_config
from lightning_xvol.errors import ExitCode
from lightning_xvol.ledger.origins import with_origin

SUMMARY = "stages, layers, parameters and MACs of the network that a recipe builds"
DESCRIPTION = (
    "Print the stages and layers of a recipe's network with their cost. This needs no data and computes nothing."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_flags(parser)
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="format of the output (default: %(default)s)"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder that holds data sets; only needed if the data set does not declare the shape of its images",
    )


def run(parsed: argparse.Namespace) -> int:
    """Print the description."""
    config = with_origin(make_config(parsed), None)
    from lightning_xvol.visualize.architecture import describe, to_text

    description = {"recipe": parsed.recipe, **describe(config, parsed.data_dir)}
    print(json.dumps(description, indent=1) if parsed.format == "json" else to_text(description))
    return ExitCode.SUCCESS
