"""`python -m lightning_xvol list`: the names of operators, backbones, data sets and recipes."""

from __future__ import annotations

import argparse

from lightning_xvol.config import registry
from lightning_xvol.config.recipes import RECIPES

SUMMARY = "names of operators, backbones, data sets and recipes"
DESCRIPTION = "Print every operator, backbone, data set and recipe that can be chosen by name, with its options."


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Nothing to add."""


def run(_parsed: argparse.Namespace) -> int:
    """Print every operator, backbone, data set and recipe with its options."""
    for kind, entries in registry.KINDS.items():
        print(f"{kind}s" if kind != "data" else "data sets")
        for name, entry in entries.items():
            options = ", ".join(f"{option}={value}" for option, value in entry.options.items())
            print(f"  {name:<18} {entry.label:<18} {options}")
    print("recipes")
    for name, recipe in RECIPES.items():
        print(f"  {name:<18} {recipe.summary}")
    return 0
