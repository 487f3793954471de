# PYTHON_ARGCOMPLETE_OK
"""`python -m analysis`: tables, figures, verdicts and reports from finished runs. `--help` loads nothing heavy."""

from __future__ import annotations

import argparse
import sys

from analysis.commands import (
    archive,
    claims,
    compare,
    confusion,
    crate,
    dashboard,
    figures,
    fill,
    plan,
    report,
    restore,
    summary,
    tables,
    verify,
)  # fmt: skip
from lightning_xvol.commandline import Parser
from lightning_xvol.errors import run_command_line

COMMANDS = {
    "tables": tables,
    "figures": figures,
    "compare": compare,
    "confusion": confusion,
    "claims": claims,
    "summary": summary,
    "plan": plan,
    "report": report,
    "dashboard": dashboard,
    "archive": archive,
    "restore": restore,
    "verify": verify,
    "fill": fill,
    "crate": crate,
}


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m analysis",
        description="Tables, figures, verdicts and reports from finished runs.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add_to(commands)
        summary = (command.__doc__ or "").partition(": ")[2]
        commands.choices[name].description = summary[:1].upper() + summary[1:]
    return parser


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    parsed = build_parser().parse_args(arguments)
    parsed.arguments = arguments
    return COMMANDS[parsed.command].run(parsed)


if __name__ == "__main__":
    run_command_line(main)
