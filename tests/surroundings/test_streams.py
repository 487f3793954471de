"""Standard streams that are missing, closed, narrow or full: a command says what it can and still does its work."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEAK = [sys.executable, "-m", "ablations"]  # a long list on stdout
COMPLAIN = [sys.executable, "-m", "ablations.kernel_size", "--seeds", "0"]  # one sentence on stderr
# A command that prints, works and prints again. What it did stands in the file `done`.
WORK = """
import sys
from lightning_xvol.errors import run_command_line
def main():
    print("88.5 ± 0.2 − 1 中", flush=True)
    print("warning: größe", file=sys.stderr)
    sys.stdin.read(0)
    open("done", "w").write("yes")
    print("end")
    return 0
run_command_line(main)
"""


def work(folder: Path, **how: object) -> subprocess.CompletedProcess[bytes]:
    (folder / "work.py").write_text(WORK, encoding="utf-8")
    env = os.environ | {"PYTHONPATH": os.fspath(ROOT)} | how.pop("env", {})  # type: ignore[operator]
    return subprocess.run([sys.executable, "work.py"], cwd=folder, env=env, **how)  # type: ignore[call-overload]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)], ids=str)
def test_a_missing_stream_stops_no_work(closed: tuple[int, ...], tmp_path: Path) -> None:
    done = work(tmp_path, preexec_fn=lambda: [os.close(each) for each in closed])
    assert done.returncode == 0
    assert (tmp_path / "done").read_text() == "yes"


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1:strict"},
    ],
    ids=lambda env: next(iter(env.values())),
)
def test_letters_that_a_stream_lacks_are_spelled_out(env: dict[str, str], tmp_path: Path) -> None:
    done = work(tmp_path, env=env, capture_output=True)
    assert done.returncode == 0
    first, last = done.stdout.splitlines()
    assert first in (rb"88.5 ? 0.2 - 1 \u4e2d", b"88.5 \xb1 0.2 - 1 \\u4e2d")
    assert last == b"end"
    assert done.stderr.strip() in (b"warning: gr\\xf6\\xdfe", b"warning: gr\xf6\xdfe")


def test_a_reader_that_leaves_is_told_by_the_exit_code_alone(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = work(tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "done").exists(), "the work does not stop"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_takes_no_more_is_one_sentence_after_the_work(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = work(tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1] == "error: No space left on device"
    assert (tmp_path / "done").exists()


def test_a_terminal_that_is_closed_loses_the_output_and_not_the_work(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    os.close(controller)  # as after `nohup` in a window that the user closes
    done = work(tmp_path, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    assert done.returncode == 0
    assert (tmp_path / "done").exists()


def test_a_pipe_that_another_process_made_non_blocking_takes_everything(tmp_path: Path) -> None:
    program = """
import os, sys
from lightning_xvol.errors import run_command_line
def main():
    os.set_blocking(1, False)
    for number in range(20):
        print(f"{number:06d}" * 5_000)
    sys.stdout.flush()
    sys.stdout.buffer.write(b"x" * 300_000)
    return 0
run_command_line(main)
"""
    command = [sys.executable, "-c", program]
    env = os.environ | {"PYTHONPATH": os.fspath(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    time.sleep(0.5)  # the pipe is full
    out = process.stdout.read()
    assert process.wait(20) == 0
    assert out == b"".join(f"{number:06d}".encode() * 5_000 + b"\n" for number in range(20)) + b"x" * 300_000


@pytest.mark.parametrize(("command", "code"), [(SPEAK, 0), (COMPLAIN, 2)], ids=["a list", "an error"])
def test_real_commands_need_neither_stream(command: list[str], code: int) -> None:
    whole = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert whole.returncode == code
    for closed in ([1], [2], [1, 2]):
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, preexec_fn=lambda closed=closed: [os.close(each) for each in closed]
        )
        assert done.returncode == code
        assert done.stdout in (b"", whole.stdout)
        assert done.stderr in (b"", whole.stderr)
        assert (done.stdout if 2 in closed and 1 not in closed else whole.stdout) == whole.stdout
