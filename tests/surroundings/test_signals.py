"""SIGTERM and Ctrl-C end a command in good order, and no library can hold up its exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    """Start `program`, and return when it has printed its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.fspath(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_sigterm_ends_a_command_with_its_code_after_the_cleaning_up(tmp_path: Path) -> None:
    program = """
import time
from lightning_xvol.errors import run_command_line
def main():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        open("closed", "w").close()
run_command_line(main)
"""
    process = start(program, tmp_path)
    process.terminate()
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (143, "", "")
    assert (tmp_path / "closed").exists()


def test_an_impatient_user_does_not_break_the_cleaning_up(tmp_path: Path) -> None:
    program = """
import time
from lightning_xvol.errors import run_command_line
def main():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("closing", flush=True)
        time.sleep(1)
        print("run the same command again", flush=True)
run_command_line(main)
"""
    process = start(program, tmp_path)
    assert process.stdout is not None
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "closing\n"
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "run the same command again\n", "")


def test_a_command_that_does_not_obey_is_ended(tmp_path: Path) -> None:
    program = """
import time
from lightning_xvol.surroundings import signals
signals.end_soon.__defaults__ = (0.5,)
signals.listen()
print("ready", flush=True)
while True:
    try:
        time.sleep(60)
    except SystemExit:
        pass
"""
    process = start(program, tmp_path)
    process.terminate()
    assert process.wait(20) == 143


def test_a_library_that_hangs_at_exit_is_ended_with_the_code_of_the_command(tmp_path: Path) -> None:
    program = """
import atexit, sys, time
from lightning_xvol.surroundings import signals
atexit.register(time.sleep, 60)
signals.bound_the_exit(3, seconds=0.5)
print("ready", flush=True)
sys.exit(3)
"""
    process = start(program, tmp_path)
    assert process.wait(20) == 3


def test_a_process_that_goes_on_after_a_command_lives(tmp_path: Path) -> None:
    program = """
import sys, time
from lightning_xvol import errors
from lightning_xvol.surroundings import signals
signals.bound_the_exit.__defaults__ = (0.2,)
sys.modules["wandb"] = sys  # as if it were loaded
print("ready", flush=True)
try:
    errors.run_command_line(lambda: 0)
except SystemExit:
    time.sleep(0.6)  # a notebook, or a test
print("alive", flush=True)
"""
    process = start(program, tmp_path)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "alive\n", "")
