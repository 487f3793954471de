# PYTHON_ARGCOMPLETE_OK
"""`python -m lightning_xvol`: one subcommand for each thing to do with a run, an operator or a network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lightning_xvol.commandline import Parser
from lightning_xvol.commands import describe, diagram, export, fit, fuse, predict, visualize
from lightning_xvol.commands import list as list_command
from lightning_xvol.errors import UserError, run_command_line

COMMANDS = {
    "fit": fit,
    "fuse": fuse,
    "export": export,
    "visualize": visualize,
    "predict": predict,
    "diagram": diagram,
    "describe": describe,
    "list": list_command,
}
BENCHMARK_MODES = ("core", "network", "data", "overhead", "bandwidth")
"""The flags that chose what the former subcommand `benchmark` measured; now subcommands of `python -m benchmarks`."""


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m lightning_xvol", description="Operators, backbones and training of X-volution.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.SUMMARY, description=command.DESCRIPTION))
    return parser


def main() -> int:
    arguments = sys.argv[1:]
    if arguments[:1] == ["benchmark"]:
        raise UserError(_benchmark_has_moved(arguments))
    parsed = make_parser().parse_args(arguments)
    return COMMANDS[parsed.command].run(parsed)


def _benchmark_has_moved(arguments: Sequence[str]) -> str:
    mode = next((mode for mode in BENCHMARK_MODES if f"--{mode}" in arguments), "operators")
    return f"'benchmark' is now a separate command: use python -m benchmarks {mode}, whose flags --help lists"


if __name__ == "__main__":
    run_command_line(main)
