# PYTHON_ARGCOMPLETE_OK
"""`python -m ablations`: the sweeps, what they reproduce, and their commands."""

from __future__ import annotations

import argparse
import json

from ablations.engine.catalogue import plans, sweeps
from lightning_xvol.commandline import Parser, columns
from lightning_xvol.errors import ExitCode, run_command_line


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ablations", description="List the sweeps and what they reproduce.", allow_abbrev=False
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text",
        help="json: the cells of each sweep, on its default recipe with one seed, in the format of cells.json",
    )  # fmt: skip
    return parser


def main() -> int:
    """List the sweeps and what they reproduce."""
    if make_parser().parse_args().format == "json":
        print(json.dumps(plans()))
        return ExitCode.SUCCESS
    rows = []
    for name, sweep in sweeps().items():
        readings = f" (also --reading {', '.join(sweep.readings)})" if sweep.readings else ""
        size = " x ".join([f"{len(sweep.rows)} rows", *(str(len(values)) for values in sweep.axes.values())])
        rows.append((f"python -m ablations.{name}", sweep.reproduces, f"{sweep.title}: {size}{readings}"))
    print("\n".join(columns(rows)))
    print(
        "\nEach command takes --help (which names its rows), --dry-run and --recipe. docs/recipes.md describes the "
        "recipes."
    )
    print("python -m ablations.all runs all sweeps on one recipe. Cells that two sweeps share run once.")
    return ExitCode.SUCCESS


if __name__ == "__main__":
    run_command_line(main)
