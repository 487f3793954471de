"""A user's mistake as an exception, the exit codes of every command, and helpers for messages."""

from __future__ import annotations

import difflib
import enum
import os
import sys
from collections.abc import Callable, Iterable


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
    """Bad input: one sentence that names the value, what was expected and the way out.

    Command lines print it without a traceback and exit with `ExitCode.BAD_INPUT`.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'pssa'?)"`, or an empty string when nothing known is close to `name`."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def first_line(error: BaseException) -> str:
    """Of what `error` says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(error: Exception) -> str:
    """`KeyError: 'name'`: the kind of `error` and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def run_command_line(main: Callable[[], int]) -> None:
    """Run `main`, print a `UserError` or an error of the system as one line on stderr, and exit the process."""
    try:
        code: int = main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = ExitCode.BAD_INPUT
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        _discard_output()  # the reader (head, less) has seen enough
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
    """What is left to print goes nowhere instead of failing again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
