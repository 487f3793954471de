"""Other programs, such as git and Slurm's: the one place that starts them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence


def run_program(
    words: Sequence[str], *, timeout: float | None = None, without: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `words` without input, and return its code and its output, which may be in any encoding.

    Args:
        words: The program and its arguments.
        timeout: Seconds after which the program is ended.
        without: Beginnings of variables that the program must not see.

    Raises:
        OSError: where there is no such program.
        subprocess.TimeoutExpired: after `timeout`.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(tuple(without))}
    return subprocess.run(
        list(words),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**kept, "PYTHONIOENCODING": "utf-8:backslashreplace"},  # for programs of Python
        timeout=timeout,
        check=False,
    )


def output_of(words: Sequence[str], *, timeout: float | None = None, without: Sequence[str] = ()) -> str | None:
    """The output of a program, or None where it is missing, fails or does not answer in time."""
    try:
        done = run_program(words, timeout=timeout, without=without)
    except (OSError, subprocess.SubprocessError):
        return None
    return None if done.returncode else done.stdout


def show_program(words: Sequence[str]) -> int:
    """Run `words` with the streams of this process, and return its code. The user reads its output as it comes."""
    return subprocess.run(list(words), stdin=subprocess.DEVNULL, check=False).returncode
