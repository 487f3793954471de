"""A user's mistake as an exception, the exit codes of every command, and helpers for messages."""

from __future__ import annotations

import contextlib
import difflib
import enum
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class ExitCode(enum.IntEnum):
    """What a command tells the shell. Codes above 128 are 128 plus the number of a signal."""

    SUCCESS = 0
    FAILURE = 1
    """A cell failed, or a result is outside its tolerance."""
    BAD_INPUT = 2
    """A user's mistake, or something that the system refused."""
    HELD = 3
    """Nothing failed, but other processes still work on cells (`--no-wait`)."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


class UserError(ValueError):
    """Bad input, as one sentence that names the value, what was expected and what to do.

    Command lines print it without a traceback and exit with `ExitCode.BAD_INPUT`.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'pssa'?)"`, or an empty string if no name in `known` is close to `name`."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def choose(known: Mapping[str, T], name: str, kind: str) -> T:
    """`known[name]`.

    Raises:
        UserError: for an unknown name, with the known ones and the nearest match; `kind` says what it would be.
    """
    if name not in known:
        raise UserError(f"unknown {kind} {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    return known[name]


def first_line(error: BaseException) -> str:
    """The first line of the message of `error`, or the name of its class if it has no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(error: Exception) -> str:
    """The class of `error` and the first line of its message, for example `KeyError: 'name'`."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


_UNSAFE = dict.fromkeys(
    [
        *range(0x00, 0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0),  # control characters but tab and the end of a line
        0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # marks that change the direction
        0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF, *range(0xD800, 0xE000),  # ends of lines, no letters, half letters
        *range(0xE0000, 0xE0080),  # invisible tags
    ],
    "?",
)  # fmt: skip


def printable(text: str) -> str:
    """`text` with a question mark for each character that could steer a terminal, hide text or break a file.

    Texts of other people's files pass through here at every output: terminals, tables, figures, pages.
    """
    return text.translate(_UNSAFE)


def sentence(error: object) -> str:
    """The message of `error`, safe and in one line."""
    return printable(str(error).replace("\n", " "))


class SafeStream:
    """A standard stream that writes `printable` text. Everything else is left to the stream itself.

    Attributes:
        stream: The stream itself, for progress bars, which steer the terminal.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return int(self.stream.write(printable(text)) or 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def bare(stream: Any) -> Any:
    """`stream` without `SafeStream`."""
    return stream.stream if isinstance(stream, SafeStream) else stream


@contextlib.contextmanager
def bare_output() -> Iterator[None]:
    """Let this process steer the terminal, for a progress bar that takes no stream."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(bare, before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def run_command_line(main: Callable[[], int]) -> None:
    """Run `main`, print a `UserError` or an error of the system as one line on stderr, and exit the process."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:
            setattr(sys, name, SafeStream(stream))
    try:
        code: int = main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {sentence(error)}", file=sys.stderr)
        code = ExitCode.BAD_INPUT
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        _discard_output()  # the reader, such as head or less, has closed the pipe
        code = ExitCode.BROKEN_PIPE
    except OSError as error:  # a full disk, a name that is too long, a folder where a file should be
        place = error.filename2 or error.filename
        print(f"error: {error.strerror or error}{f': {str(place)!r}' if place else ''}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _discard_output()
        code = ExitCode.BAD_INPUT
    sys.exit(code)


def _discard_output() -> None:
    """Send the rest of the output nowhere, so that it does not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
