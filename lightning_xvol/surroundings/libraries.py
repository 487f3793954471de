"""What libraries say about the machine, which is not for the user of a command."""

from __future__ import annotations

import logging


def make_quiet() -> None:
    """Let matplotlib say nothing below an error.

    On its first import on a machine it says that it looks for fonts. It also names a folder for its cache that it
    cannot write to, and each wrong line of a matplotlibrc, which changes no figure here. None of this is about the
    command, whose own error is one line.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
