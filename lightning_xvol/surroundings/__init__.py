"""What a command meets around it and must not fail by: streams, signals, variables, libraries and programs.

`prepare` makes the process ready, once, at the front door of every command (`errors.run_command_line`). Nothing here
changes a result.
"""

from __future__ import annotations

from lightning_xvol.surroundings import libraries, printing, signals, streams, variables


def prepare() -> None:
    """Make the streams, the variables, the libraries and the signals of this process what commands can rely on."""
    streams.make_lasting()
    printing.make_safe()
    variables.make_usable()
    libraries.make_quiet()
    libraries.ignore_matplotlibrc()
    signals.listen()
