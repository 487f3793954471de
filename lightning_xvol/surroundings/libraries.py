"""What libraries find on the machine and say about it, which is not for the user of a command."""

from __future__ import annotations

import errno
import importlib.abc
import logging
import os
import sys
from pathlib import Path
from typing import Any

_MATPLOTLIBRC = Path("matplotlibrc")


def make_quiet() -> None:
    """Let matplotlib say nothing below an error.

    On its first import on a machine it says that it looks for fonts. It also names a folder for its cache that it
    cannot write to, and each wrong line of a matplotlibrc, which changes no figure here. None of this is about the
    command, whose own error is one line.
    """
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def ignore_matplotlibrc() -> None:
    """Let matplotlib read no matplotlibrc of the user. Figures start from its defaults (`visualize.style.settings`).

    matplotlib reads a file of the current folder before it looks at the variable. Such a file changes no figure, but
    one that is not UTF-8 ends the import of matplotlib. That import then says so in one sentence.
    """
    os.environ["MATPLOTLIBRC"] = os.devnull
    if not any(isinstance(finder, _CheckMatplotlibrc) for finder in sys.meta_path):
        sys.meta_path.insert(0, _CheckMatplotlibrc())


class _CheckMatplotlibrc(importlib.abc.MetaPathFinder):
    """Finds no module. It reads the file of the current folder before matplotlib does."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname == "matplotlib" and _MATPLOTLIBRC.is_file():
            try:
                _MATPLOTLIBRC.read_bytes().decode()
            except UnicodeDecodeError as error:
                text = "a file that matplotlib reads is not UTF-8; save it in this encoding, or remove it"
                raise OSError(errno.EILSEQ, text, str(_MATPLOTLIBRC)) from error
