"""Ctrl-C and SIGTERM: the first one ends the command in good order, and nothing can make that take for ever."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import os
import signal
import threading
import time
from types import FrameType

PATIENCE_SECONDS = 10.0
"""How long further signals are ignored while the command obeys the first one."""
END_SECONDS = 8.0
"""After so long a process that was asked to end, or that has nothing left to do, ends at once."""
GRACE_SECONDS = 0.5
"""A signal to a group of processes reaches all of them within this time."""
TERMINATED = 128 + signal.SIGTERM

_obeying_since: float | None = None
_terminated = False


class Terminated(SystemExit):
    """SIGTERM: a scheduler, or `timeout`, asks the process to end. Uncaught, it gives the exit code 143."""

    def __init__(self) -> None:
        super().__init__(TERMINATED)


def listen(*, interrupts: bool = True) -> None:
    """From now on SIGTERM raises `Terminated`, and with `interrupts` Ctrl-C raises one `KeyboardInterrupt`.

    A handler that stands already stays: a shell lets background commands ignore Ctrl-C. Only the main thread can
    listen.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _obey)
    if interrupts and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _obey)


def is_terminated() -> bool:
    """Whether SIGTERM has come, so that an error may be no more than its echo: a helper process that it has ended."""
    return _terminated


def await_own() -> None:
    """Another process died by SIGTERM. Wait until the same signal has reached this one, if it was for both.

    Raises:
        Terminated: if it was.
    """
    time.sleep(GRACE_SECONDS)


def settle(error: BaseException) -> bool:
    """Whether SIGTERM is the cause of `error`, which may reach this process before the signal does."""
    if "DataLoader worker" in str(error):
        with contextlib.suppress(Terminated):
            await_own()
    return _terminated


def end_soon(code: int, seconds: float = END_SECONDS) -> None:
    """End this process with `code` after `seconds`, if it has not ended by then.

    The thread is a bare one, because a signal handler must not wait for a lock of `threading`.
    """

    def wait() -> None:
        time.sleep(seconds)
        os._exit(code)

    _thread.start_new_thread(wait, ())


def bound_the_exit(code: int, seconds: float = END_SECONDS) -> None:
    """When this process exits, end it with `code` after `seconds`, if a library has not let it end by then.

    From then on it ignores further signals, which would end it with another code.

    What is registered last runs first at exit, so the time starts before W&B waits for its service. A thread could not
    be started there, and one that is started now would end a process that goes on, such as a notebook.
    """
    atexit.register(_end_in_time, code, seconds)


def _end_in_time(code: int, seconds: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(code))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _obey(number: int, _: FrameType | None) -> None:
    global _obeying_since, _terminated
    now = time.monotonic()
    if _obeying_since is not None and now - _obeying_since < PATIENCE_SECONDS:
        return
    _obeying_since = now
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    _terminated = True
    end_soon(TERMINATED)
    raise Terminated
