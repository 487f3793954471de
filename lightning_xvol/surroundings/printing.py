"""Texts that are safe to print. Those of other people's files may steer a terminal or hide parts of themselves."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

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


def in_one_line(message: object) -> str:
    """The text of `message`, such as an error, safe and in one line."""
    return printable(str(message).replace("\n", " "))


class SafeStream:
    """A standard stream that writes `printable` text. Everything else is left to the stream itself.

    Attributes:
        stream: The stream itself, for progress bars, which steer the terminal.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return int(self.stream.write(printable(text)) or 0)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def make_safe() -> None:
    """Let the standard streams of this process write `printable` text."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:
            setattr(sys, name, SafeStream(bare(stream)))


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
