"""What a command meets around it and must not fail by: streams, signals, variables and other programs.

`prepare` makes the process ready, once, at the front door of every command (`errors.run_command_line`). Nothing here
changes a result.
"""

from __future__ import annotations

from lightning_xvol.surroundings import printing, signals, streams, variables


def prepare() -> None:
    """Make the streams, the variables and the signals of this process those that commands can rely on."""
    streams.make_lasting()
    printing.make_safe()
    variables.make_usable()
    signals.listen()
