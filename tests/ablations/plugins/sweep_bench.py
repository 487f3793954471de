"""Sweeps to test: run in this process or as a command that can be killed; and what their ledgers hold."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

PATIENCE_SECONDS = 120
ESSENTIAL = ("status", "weights_sha256", "metrics", "params", "macs", "config")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def one_error(self) -> str:
        """The text on stderr, which must be short and no traceback."""
        lines = self.err.strip().splitlines()
        assert 1 <= len(lines) <= 2, self.err
        assert "Traceback" not in self.err
        return self.err


class Ledger:
    """The folder of a sweep's results."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.cells = out / "cells"

    def ids(self) -> set[str]:
        return {path.name for path in self.cells.glob("*") if ".old-" not in path.name}

    def results(self) -> dict[str, dict[str, Any]]:
        """The record of every finished cell."""
        from lightning_xvol.ledger.record import read_result

        found = {cell: read_result(self.cells / cell) for cell in sorted(self.ids())}
        return {cell: result for cell, result in found.items() if result is not None}

    def essence(self) -> dict[str, dict[str, Any]]:
        """For every finished cell, everything that must not depend on how, where or how often it was run."""
        found = {}
        for cell, result in self.results().items():
            del result["config"]["data"]["workers"]
            found[cell] = {
                key: result[key] for key in ("status", "weights_sha256", "metrics", "params", "macs", "config")
            }
            found[cell]["metrics.csv"] = (self.cells / cell / "metrics.csv").read_text()
            found[cell]["predictions.npz"] = (self.cells / cell / "predictions.npz").read_bytes()
        return found

    def segments(self) -> dict[str, list[dict[str, Any]]]:
        """The parts that each finished cell was trained in."""
        return {cell: result["segments"] for cell, result in self.results().items()}

    def failure(self, cell: str) -> Any:
        return json.loads((self.cells / cell / "failure.json").read_text())

    def files(self, cells: Sequence[str] | None = None) -> dict[str, tuple[int, int, str]]:
        """Modification time, inode and hash of every file of `cells`, by default of all."""
        paths = [path for cell in (cells or sorted(self.ids())) for path in (self.cells / cell).rglob("*")]
        return {
            str(path.relative_to(self.cells)): (
                path.stat().st_mtime_ns,
                path.stat().st_ino,
                hashlib.sha256(path.read_bytes()).hexdigest(),
            )
            for path in paths
            if path.is_file()
        }

    def newest_step(self, cell: str) -> int:
        """The step of a cell's newest checkpoint, 0 without one."""
        names = [path.stem for path in (self.cells / cell / "checkpoints").glob("step=*.ckpt")]
        return max((int(name.partition("=")[2]) for name in names), default=0)

    def unfinished_steps(self) -> dict[str, int]:
        """The newest step of every cell that was begun and is not finished."""
        return {cell: self.newest_step(cell) for cell in self.ids() - set(self.results())}

    def workers(self) -> dict[str, int]:
        """The process that works on each cell, by the locks that the system knows of."""
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        holders = {int(words[5].rpartition(":")[2]): int(words[4]) for words in locks if words[1] == "POSIX"}
        paths = {cell: self.cells / cell / ".lock" for cell in sorted(self.ids())}
        inodes = {cell: path.stat().st_ino for cell, path in paths.items() if path.exists()}
        return {cell: holders[inode] for cell, inode in inodes.items() if holders.get(inode, 0) > 0}


def _hear_ctrl_c() -> None:
    """Let the command hear SIGINT. Tests that a shell runs in the background inherit that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Started:
    """A command in a session of its own, so that all its descendants can be found, signalled and killed."""

    def __init__(self, command: Sequence[str], folder: Path, name: str) -> None:
        self.paths = [folder / f"{name}.out", folder / f"{name}.err"]
        with self.paths[0].open("w") as out, self.paths[1].open("w") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=out, stderr=err, start_new_session=True, preexec_fn=_hear_ctrl_c
            )

    def is_running(self) -> bool:
        return self.process.poll() is None

    def processes(self) -> list[int]:
        """The living processes of the session."""
        living = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.process.pid and state not in "ZX":
                    living.append(int(path.parent.name))
        return living

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert self.is_running(), f"ended before {what}: {self.ended()}"
            assert time.monotonic() < end, f"no {what} within {PATIENCE_SECONDS} s"
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9 to the launcher alone: all that it started must end by itself."""
        self.process.kill()
        self.process.wait()
        self.all_end()

    def all_end(self, within: float = 30) -> None:
        """Wait until the command and its descendants have ended. Loaders look for their parent every 5 s."""
        end = time.monotonic() + within
        while processes := self.processes():
            assert time.monotonic() < end, f"{len(processes)} processes outlive their launcher by {within} s"
            time.sleep(0.05)

    def has_printed(self) -> bool:
        return self.paths[0].stat().st_size > 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process group, as a terminal does on Ctrl-C, and `timeout` and schedulers do."""
        os.killpg(self.process.pid, number)

    def ended(self, within: float = PATIENCE_SECONDS) -> Ended:
        code = self.process.wait(within)
        return Ended(code, *(path.read_text() for path in self.paths))

    def clean_up(self) -> None:
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()


class Bench:
    """Runs `python -m ablations.<sweep>` with its ledger in a folder of the test.

    Attributes:
        quick: Flags for cells of a second: 20 steps, a checkpoint every 5, 2 steps an epoch.
        four_cells: Flags for a small sweep to interrupt: 40 steps, a checkpoint every 5, 16 steps an epoch.
    """

    quick = ("--smoke", "--seeds", "1", "--wandb", "disabled", "--set", "data.limit=64")
    four_cells = (
        *("--smoke", "--seeds", "1", "--wandb", "disabled", "--set", "data.limit=512", "--set", "train.steps=40"),
        *("--only", "kernel_size=1,3", "--only", "operator=convolution,xvolution"),
    )

    def __init__(self, folder: Path, sweep: str = "kernel_size") -> None:
        self.folder, self.sweep = folder, sweep
        self.out = folder / "runs"
        self.ledger = Ledger(self.out)
        self.started: list[Started] = []

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", f"ablations.{self.sweep}", "--out", str(self.out), *arguments]

    def here(self, *arguments: str, stderr: TextIO | None = None) -> Ended:
        """Run in this process, whose pool has imported torch already. A command of its own is much slower."""
        from ablations.engine.cli import main

        sweep = importlib.import_module(f"ablations.{self.sweep}").SWEEP
        out, err = io.StringIO(), stderr or io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(sweep, ["--out", str(self.out), *arguments])
        return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue() if isinstance(err, io.StringIO) else "")

    def in_background(self, *arguments: str) -> Future[Ended]:
        """Run in a thread of this process."""
        pool = ThreadPoolExecutor(1)
        ended = pool.submit(self.here, *arguments)
        pool.shutdown(wait=False)
        return ended

    def run(self, *arguments: str) -> Ended:
        """Run as a command."""
        return self.start(*arguments).ended()

    def start(self, *arguments: str) -> Started:
        self.started.append(Started(self.command(*arguments), self.folder, f"command-{len(self.started)}"))
        return self.started[-1]

    def cells(self, *arguments: str) -> dict[str, str]:
        """The ids of the cells by their names, as the dry run lists them."""
        return {name: cell for cell, _, name in self._listed(*arguments)}

    def states(self, *arguments: str) -> dict[str, str]:
        """The states of the cells by their names, as the dry run lists them."""
        return {name: state for _, state, name in self._listed(*arguments)}

    def _listed(self, *arguments: str) -> list[list[str]]:
        return [line.split(maxsplit=2) for line in self.here("--dry-run", *arguments).out.splitlines()[:-1]]

    def clean_up(self) -> None:
        for started in self.started:
            started.clean_up()
