"""The one exception that stands for a user's mistake, and what messages share."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable


class UserError(ValueError):
    """Bad input: one sentence that names the value, what was expected and the way out.

    Command lines print it without a traceback and exit with code 2.
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
    """Run `main`, turn a `UserError` and what the system refuses into one line on stderr, and exit the process."""
    try:
        code = main()
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        _discard_output()  # the reader (head, less) has seen enough
        code = 141
    except OSError as error:  # a full disk, a name that is too long, a folder where a file should be
        place = error.filename2 or error.filename
        print(f"error: {error.strerror or error}{f': {str(place)!r}' if place else ''}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _discard_output()
        code = 2
    sys.exit(code)


def _discard_output() -> None:
    """What is left to print goes nowhere instead of failing again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
