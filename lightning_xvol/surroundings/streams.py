"""Standard streams that stop no command: one may be missing, lack letters, or close while the command works."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import select
import sys
from typing import Any

from lightning_xvol.surroundings.printing import make_safe

PLAIN = {"±": "?", "−": "-", "–": "-", "—": "-", "×": "x"}
"""What stands for a sign of tables on a terminal that lacks it: one letter for one, so that columns stay aligned."""

READABLE = "lightning_xvol.readable"
_LOST_TERMINAL = (errno.EIO, errno.EBADF, errno.ENXIO)


def _readable(error: UnicodeError) -> tuple[str, int]:
    """The error handler of the streams: a plain spelling, else the code of the letter, `\\u4e2d`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(PLAIN.get(each) or ascii(each)[1:-1] for each in letters), error.end


codecs.register_error(READABLE, _readable)


class _Lasting(io.BufferedWriter):
    """A stream whose other end may go away. What comes later goes nowhere, and `error` holds the reason.

    It stands above the buffer, not below it: an exception of a signal handler inside the write of a raw stream would
    make the buffer write the same bytes again.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while left:
            try:
                left = left[super().write(left) :]
            except BlockingIOError as error:
                left = left[error.characters_written :]
                self._wait()
            except OSError as error:
                self._lose(error)
        return len(data)

    def flush(self) -> None:
        while True:
            try:
                return super().flush()
            except BlockingIOError:
                self._wait()
            except OSError as error:
                self._lose(error)

    def _wait(self) -> None:
        select.select([], [self], [])  # another process has made the pipe non-blocking

    def _lose(self, error: OSError) -> None:
        self.error = self.error or error
        point_at_nothing(self.fileno())


def point_at_nothing(descriptor: int) -> None:
    """Let what is written to `descriptor` go nowhere."""
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing != descriptor:
        os.dup2(nothing, descriptor)
        os.close(nothing)


def make_lasting() -> None:
    """Replace the missing and the plain standard streams of this process by lasting ones, which never raise.

    A stream that something else has replaced, such as a notebook or a test, stays.
    """
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(free, True)  # else a file of the run would become its standard output
    os.close(free)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        before = getattr(sys, name)
        if before is None or _is_plain(before, descriptor):
            encoding = "utf-8" if before is None else before.encoding
            _replace(name, descriptor, encoding, line_buffering=before is None or before.line_buffering)


def write_into(descriptor: int) -> None:
    """Let everything that this process prints go to the file `descriptor`, as UTF-8."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # a stream may be missing or closed
            getattr(sys, name).flush()
        os.dup2(descriptor, number)
        _replace(name, number, "utf-8", line_buffering=True)
    make_safe()


def is_terminal(stream: Any) -> bool:
    """Whether `stream` is a terminal. A process without one may have no stream at all."""
    try:
        return stream is not None and bool(stream.isatty())
    except (AttributeError, OSError, ValueError):
        return False


def flush() -> None:
    """Write out what is printed, where there is a stream."""
    if sys.stdout is not None:
        sys.stdout.flush()


def failure() -> OSError | None:
    """Why the standard output has not taken everything, or None. A terminal that was closed is no failure."""
    error = getattr(getattr(sys.stdout, "buffer", None), "error", None)
    return None if error is None or error.errno in _LOST_TERMINAL else error


def _is_plain(stream: Any, descriptor: int) -> bool:
    """Whether `stream` is the one that Python opened on `descriptor` at its start."""
    if type(stream) is not io.TextIOWrapper or stream.closed or isinstance(stream.buffer, _Lasting):
        return False
    raw = getattr(stream.buffer, "raw", stream.buffer)
    return type(raw) is io.FileIO and raw.fileno() == descriptor


def _replace(name: str, descriptor: int, encoding: str, line_buffering: bool) -> None:
    before = getattr(sys, name)
    with contextlib.suppress(AttributeError, OSError, ValueError):
        before.flush()
    buffer = _Lasting(io.FileIO(descriptor, "w", closefd=False))
    stream = io.TextIOWrapper(buffer, encoding=encoding, errors=READABLE, newline="\n", line_buffering=line_buffering)
    stream.mode = "w"  # type: ignore[misc]  # as Python's own streams
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)
