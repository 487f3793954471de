"""`python -m lightning_xvol`: what can be done with one run, one operator or one network, a subcommand each."""

from __future__ import annotations

import argparse

from lightning_xvol.commandline import Parser
from lightning_xvol.commands import describe, diagram, export, fit, fuse, predict, visualize
from lightning_xvol.commands import list as list_command
from lightning_xvol.errors import run_command_line

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


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m lightning_xvol", description="Operators, backbones and training of X-volution.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.SUMMARY, description=command.DESCRIPTION))
    return parser


def main() -> int:
    parsed = make_parser().parse_args()
    return COMMANDS[parsed.command].run(parsed)


if __name__ == "__main__":
    run_command_line(main)
