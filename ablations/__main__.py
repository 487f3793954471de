"""`python -m ablations`: the sweeps, what they reproduce, and their commands."""

from __future__ import annotations

import importlib
import pkgutil

import ablations
from ablations.sweep import Sweep
from lightning_xvol.commandline import Parser
from lightning_xvol.errors import run_command_line


def sweeps() -> dict[str, Sweep]:
    """Every module of this package that holds a SWEEP."""
    found = {}
    for module in pkgutil.iter_modules(ablations.__path__):
        if not module.ispkg and module.name != "__main__":
            sweep = getattr(importlib.import_module(f"ablations.{module.name}"), "SWEEP", None)
            if isinstance(sweep, Sweep):
                found[module.name] = sweep
    return found


def main() -> int:
    Parser(prog="python -m ablations", description=main.__doc__).parse_args()
    found = sweeps()
    width = max(len(name) for name in found)
    for name, sweep in found.items():
        print(f"python -m ablations.{name:<{width}}  {sweep.reproduces:<12} {sweep.title}: {', '.join(sweep.rows)}")
    print("\nEach takes --help, --dry-run and --recipe; docs and README say what the recipes are.")
    return 0


main.__doc__ = "List the sweeps and what they reproduce."

if __name__ == "__main__":
    run_command_line(main)
