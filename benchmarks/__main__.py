# PYTHON_ARGCOMPLETE_OK
"""`python -m benchmarks`: what operators, networks and data loaders cost on this machine. Each mode is a subcommand."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from benchmarks.flags import parse, plan
from lightning_xvol.errors import ExitCode, run_command_line


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = parse(arguments)
    if parsed.dry_run:
        print(plan(parsed))
        return ExitCode.SUCCESS
    from benchmarks.session import open_session

    session = open_session(parsed)
    importlib.import_module(f"benchmarks.{parsed.mode}").run(parsed, session)
    return ExitCode.SUCCESS


if __name__ == "__main__":
    run_command_line(main)
