"""`python -m lightning_xvol list`: the names of operators, backbones, data sets and recipes."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence

from lightning_xvol.commandline import padded
from lightning_xvol.config import libraries, registry
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.errors import ExitCode
from lightning_xvol.surroundings.streams import is_terminal

SUMMARY = "names of operators, backbones, data sets and recipes"
DESCRIPTION = (
    "Print every operator, backbone, data set and recipe that can be chosen by name, with its options. On a terminal, "
    "long lines are wrapped. Elsewhere, each name is one line."
)
NARROWEST = 30  # columns of the last cell


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing, because this command has no arguments."""


def run(_parsed: argparse.Namespace) -> int:
    """Print every operator, backbone, data set and recipe with its options. The columns of all parts are aligned."""
    parts: dict[str, list[tuple[str, str, str]]] = {
        "data sets" if kind == "data" else f"{kind}s": [
            (f"  {name}", entry.label, ", ".join(f"{option}={value}" for option, value in entry.options.items()))
            for name, entry in entries.items()
        ]
        for kind, entries in registry.KINDS.items()
    }
    cells = iter(padded([row[:2] for rows in parts.values() for row in rows]))
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    for part, rows in parts.items():
        print(part)
        for *_, options in rows:
            print(_line(next(cells), options, width))
        if part == "backbones":
            names = " or ".join(f"{library}:NAME" for library in libraries.FACTORIES)
            options = ", ".join(libraries.OPTIONS)
            print(_line([f"  {names}"], f"any ResNet of that library (options: {options})", width))
    print("recipes")
    for [name], recipe in zip(padded([[f"  {name}"] for name in RECIPES]), RECIPES.values(), strict=True):
        print(_line([name], recipe.summary, width))
    return ExitCode.SUCCESS


def _line(cells: Sequence[str], text: str, width: int | None) -> str:
    """`cells` and then `text`, which is wrapped in its own column if `width` says how wide the terminal is."""
    start = "".join(f"{cell}  " for cell in cells)
    if width is None or width - len(start) < NARROWEST:
        return f"{start}{text}".rstrip()
    rest = " " * len(start)
    return textwrap.fill(text, width, initial_indent=start, subsequent_indent=rest, break_on_hyphens=False) or start
