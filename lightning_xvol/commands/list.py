"""`python -m lightning_xvol list`: the names of operators, backbones, data sets and recipes."""

from __future__ import annotations

import argparse

from lightning_xvol.commandline import columns
from lightning_xvol.config import libraries, registry
from lightning_xvol.config.recipes import RECIPES
from lightning_xvol.errors import ExitCode

SUMMARY = "names of operators, backbones, data sets and recipes"
DESCRIPTION = "Print every operator, backbone, data set and recipe that can be chosen by name, with its options."


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing, because this command has no arguments."""


def run(_parsed: argparse.Namespace) -> int:
    """Print every operator, backbone, data set and recipe with its options."""
    for kind, entries in registry.KINDS.items():
        print(f"{kind}s" if kind != "data" else "data sets")
        rows = [
            (f"  {name}", entry.label, ", ".join(f"{option}={value}" for option, value in entry.options.items()))
            for name, entry in entries.items()
        ]
        print("\n".join(columns(rows)))
        if kind == "backbone":
            names = " or ".join(f"{library}:NAME" for library in libraries.FACTORIES)
            print(f"  {names}: any ResNet of that library (options: {', '.join(libraries.OPTIONS)})")
    print("recipes")
    print("\n".join(columns((f"  {name}", recipe.summary) for name, recipe in RECIPES.items())))
    return ExitCode.SUCCESS
