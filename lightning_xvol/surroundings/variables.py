"""Variables of the environment that would break a library, and what stands for them."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

LONGEST_SOCKET_FOLDER = 60
"""An address of a socket has at most 107 characters, and names such as `/pymp-abcdefgh/listener-abcdefgh` follow."""
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")

NUMBERS = ("SOURCE_DATE_EPOCH", "NUMPY_MADVISE_HUGEPAGE")
"""What numpy, scipy and matplotlib read as a number: the date of a file, and a setting of the memory."""
SWITCHES = ("PANDAS_", "SYMPY_")
"""How the names of variables begin that give a library another behaviour than its own, or stop its import."""


def make_usable() -> None:
    """Let no variable that the user's shell has for other programs break this one or the processes that it starts."""
    # Figures go to files. A notebook names a backend that this environment may not have.
    os.environ["MPLBACKEND"] = "agg"
    for name, value in list(os.environ.items()):
        if name.startswith(SWITCHES) or (name in NUMBERS and not _is_number(value)):
            del os.environ[name]
    if home() is None:
        _lend_home()
    if len(os.fsencode(tempfile.gettempdir())) > LONGEST_SOCKET_FOLDER:
        _shorten_sockets()


def _is_number(value: str) -> bool:
    """Whether libraries can read it: a whole number of at most 11 digits, which as seconds end in the year 5138."""
    return value.isascii() and value.isdecimal() and len(value) <= 11


def home() -> Path | None:
    """The user's home folder, or None for a user without one: no HOME, and no entry in the system's list of users."""
    try:
        return Path.home()
    except (RuntimeError, KeyError):
        return None


def cache_folder() -> Path | None:
    """The user's folder for files that can be computed again, or None where there is none: nothing is kept then."""
    chosen, own = os.environ.get("XDG_CACHE_HOME"), home()
    if chosen:
        return Path(chosen, "lightning-xvol")
    return None if own is None else own / ".cache" / "lightning-xvol"


def named_data_folder() -> Path | None:
    """The folder that contains data sets, as `LIGHTNING_XVOL_DATA` names it; None where it names none."""
    named = os.environ.get("LIGHTNING_XVOL_DATA")
    return Path(named) if named else None


def data_folder(given: Path | None = None) -> Path:
    """The folder that contains data sets: `given`, else what `LIGHTNING_XVOL_DATA` names, else ./data."""
    return Path(given if given is not None else named_data_folder() or "data")


def _lend_home() -> None:
    """A home for libraries that cannot do without, such as matplotlib, until this process ends."""
    folder, owner = tempfile.mkdtemp(prefix="lightning-xvol-home-"), os.getpid()
    os.environ["HOME"] = folder

    def remove() -> None:
        if os.getpid() == owner:  # a forked process inherits this function
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)


def _shorten_sockets() -> None:
    """Let multiprocessing put its sockets into a folder with a short name. Other files stay where the user says."""
    from multiprocessing import util

    before = tempfile.tempdir
    for folder in SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            tempfile.tempdir = folder
            try:
                util.get_temp_dir()  # which keeps its answer for this process and those that it starts
            finally:
                tempfile.tempdir = before
            return
