"""One process at a time works in a folder, however it ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_xvol.errors import UserError
from lightning_xvol.ledger.locking import Held, is_held, locked

HOLD = """
import os, sys, time
from pathlib import Path
from lightning_xvol.ledger.locking import locked
with locked(Path(sys.argv[1])):
    if len(sys.argv) > 2 and os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder():
    processes = []

    def start(folder: Path, *arguments: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout.readline() == "holding\n"
        return process

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_folder_is_held_while_another_process_works_and_free_afterwards(holder, tmp_path):
    process = holder(tmp_path)
    assert is_held(tmp_path)
    with pytest.raises(Held), locked(tmp_path):
        pytest.fail("entered a folder in which another process works")
    process.communicate("")
    assert not is_held(tmp_path)
    with locked(tmp_path):
        pass


def test_a_folder_is_free_after_kill_9(holder, tmp_path):
    process = holder(tmp_path)
    process.kill()
    process.wait()
    assert not is_held(tmp_path)


def test_a_forked_child_does_not_keep_the_folder(holder, tmp_path):
    """A worker of a loader outlives a killed run by seconds. With `flock`, the run could not resume meanwhile."""
    process = holder(tmp_path, "with a child")
    assert is_held(tmp_path)
    process.kill()
    process.wait()
    time.sleep(0.1)
    os.killpg(process.pid, 0)  # the child lives
    assert not is_held(tmp_path)


def test_a_forked_child_that_ends_does_not_release_the_folder(holder, tmp_path):
    with locked(tmp_path):
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)
        code = (
            "import sys, pathlib; from lightning_xvol.ledger.locking import is_held\n"
            "print(is_held(pathlib.Path(sys.argv[1])))"
        )
        asked = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        assert asked.stdout == "True\n"


def test_asking_does_not_release_the_own_folder(holder, tmp_path):
    """A process that closes any descriptor of a file loses all its record locks on it."""
    with locked(tmp_path):
        is_held(tmp_path)
        code = (
            "import sys, pathlib; from lightning_xvol.ledger.locking import is_held\n"
            "print(is_held(pathlib.Path(sys.argv[1])))"
        )
        asked = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        assert asked.stdout == "True\n"


def test_a_folder_is_released_after_an_exception(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


def test_a_folder_that_is_not_there_is_not_held(tmp_path):
    assert not is_held(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_file_system_without_locks_is_not_another_process(tmp_path, monkeypatch):
    def unsupported(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    with pytest.raises(UserError, match=r"No locks available.*--out"), locked(tmp_path):
        pass
