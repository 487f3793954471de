"""A user's mistake as an exception, the exit codes of every command, and helpers for messages."""

from __future__ import annotations

import difflib
import enum
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn, TypeVar

from lightning_xvol import surroundings
from lightning_xvol.surroundings import signals, streams
from lightning_xvol.surroundings.printing import in_one_line

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


def run_command_line(main: Callable[[], int]) -> None:
    """Run `main`, print a `UserError` or an error of the system as one line on stderr, and exit the process.

    Every command goes through here, so this is where the surroundings are made safe.
    """
    surroundings.prepare()
    try:
        code: int = main()
        streams.flush()
    except UserError as error:
        _tell(str(error))
        code = ExitCode.BAD_INPUT
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except signals.Terminated:
        code = ExitCode.TERMINATED
    except BrokenPipeError:
        _discard_output()  # the reader, such as head or less, has closed the pipe
        code = ExitCode.BROKEN_PIPE
    except OSError as error:  # a full disk, a name that is too long, a folder where a file should be
        _tell(_described(error))
        code = ExitCode.BAD_INPUT
    _exit(code)


def _exit(code: int) -> NoReturn:
    """Write out what is printed, and exit with `code`, or with that of an output which did not take everything."""
    try:
        streams.flush()
    except OSError:
        _discard_output()
    lost = streams.failure()
    if isinstance(lost, BrokenPipeError):
        code = code or ExitCode.BROKEN_PIPE
    elif lost is not None and code == ExitCode.SUCCESS:
        _tell(_described(lost))
        code = ExitCode.BAD_INPUT
    if "wandb" in sys.modules or code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
        signals.bound_the_exit(code)
    sys.exit(code)


def _tell(message: str) -> None:
    if sys.stderr is not None:
        print(f"error: {in_one_line(message)}", file=sys.stderr)


def _described(error: OSError) -> str:
    place = error.filename2 or error.filename
    return f"{error.strerror or error}{f': {str(place)!r}' if place else ''}"


def _discard_output() -> None:
    """Send the rest of the output nowhere, so that it does not fail again at exit."""
    streams.point_at_nothing(sys.stdout.fileno())
