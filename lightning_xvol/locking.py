"""One process at a time in a cell's folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Held(Exception):
    """Another process works in this folder."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process.

    A record lock (`lockf`) belongs to the process alone and ends with it, however it ends; a forked child does not
    keep it alive, as it would an `flock`.

    Raises:
        Held: where another process holds it.
    """
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Held(str(folder)) from error
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether another process holds `folder` at this moment."""
    try:
        with locked(folder):
            return False
    except Held:
        return True
    except FileNotFoundError:
        return False
