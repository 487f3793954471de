"""Locks that let one process at a time work in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from lightning_xvol.errors import UserError

LOOK_SECONDS = 0.05

_held_here: set[tuple[int, str]] = set()


class Held(Exception):
    """Another process works in this folder."""


def _take(descriptor: int) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        # A process that only looks (`is_held`) holds it for an instant.
        time.sleep(LOOK_SECONDS)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process.

    A record lock (`lockf`) belongs to one process and ends with it, however it ends. A forked child does not keep it
    alive; it would keep an `flock` alive.

    Raises:
        Held: if another process holds the folder, or this one does already.
        UserError: if the file system has no locks.
    """
    # The system would grant this process the same lock again, and release both when one of them closes.
    own = os.getpid(), os.path.realpath(folder)
    if own in _held_here:
        raise Held(str(folder))
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        try:
            _take(descriptor)
        except (BlockingIOError, PermissionError) as error:
            raise Held(str(folder)) from error
        except OSError as error:
            raise UserError(
                f"cannot lock the folder {str(folder)!r}: {error.strerror}; choose another file system with --out"
            ) from error
        _held_here.add(own)
        yield
    finally:
        _held_here.discard(own)
        os.close(descriptor)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Create `folder` if needed, wait until no other process is in this block with it, and hold it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back


def is_held(folder: Path) -> bool:
    """Whether a process holds `folder` now."""
    try:
        with locked(folder):
            return False
    except Held:
        return True
    except FileNotFoundError:
        return False
