"""`python -m lightning_xvol diagram`: the paper's Fig. 1, 2 and 4 of any operator."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_xvol.commandline import add_config_flags, make_config
from lightning_xvol.commands.arguments import check_matplotlib
from lightning_xvol.errors import ExitCode
from lightning_xvol.visualize.style import FORMATS

SUMMARY = "draw the structure of an operator: the paper's Fig. 1, 2 and 4"
DESCRIPTION = (
    "Draw an operator in training and at inference (Fig. 1), its position in the blocks of ResNet-34 and ResNet-50 "
    "(Fig. 2), and PSSA in detail (Fig. 4). The drawings come from the modules that the recipe builds; no training and "
    "no data are needed."
)
FIGURES = (1, 2, 4)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_flags(parser)
    parser.set_defaults(recipe="imagenet_resnet50", operator="xvolution")
    parser.add_argument(
        "--figure", action="append", type=int, choices=FIGURES, metavar="N",
        help="1, 2 or 4; repeatable (default: all that the operator has)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("diagrams"), metavar="DIR",
        help=f"folder for figure_N.{', .'.join(FORMATS)} (default: %(default)s)",
    )  # fmt: skip


def run(parsed: argparse.Namespace) -> int:
    """Draw, write, and print the captions."""
    config = make_config(parsed)
    check_matplotlib("diagram")
    from lightning_xvol.ledger import files
    from lightning_xvol.visualize.diagrams import NoPSSA, compose, diagram
    from lightning_xvol.visualize.figure import write

    folder = files.make_folder(parsed.out)
    for number in parsed.figure or FIGURES:
        try:
            shown = diagram(number, config)
        except NoPSSA as error:
            if parsed.figure:
                raise
            print(f"left out: {error}")
            continue
        figure = compose(shown)
        for kind in FORMATS:
            write(figure, folder / f"figure_{number}.{kind}")
        print(f"Fig. {number}: {shown.caption}")
        print(f"wrote {folder / f'figure_{number}.{FORMATS[0]}'} (.{', .'.join(FORMATS[1:])})")
    return ExitCode.SUCCESS
