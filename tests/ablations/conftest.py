"""Sweeps to test: run in this process, as a command, or as a command to be killed; and what a ledger holds."""

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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = Path(__file__).with_name("plugins")
PATIENCE_SECONDS = 120


@pytest.fixture(scope="session", autouse=True)
def _paths_for_subprocesses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGINS), str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(str(PLUGINS))
        kept = ("WANDB_BASE_URL", "WANDB_ERROR_REPORTING")  # they keep the tests off W&B's own servers
        for name in [name for name in os.environ if name.startswith("WANDB_") and name not in kept]:
            patch.delenv(name)
        yield


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def one_error(self) -> str:
        """What stderr says, which must be short and no traceback."""
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
        paths = [self.cells / cell / "result.json" for cell in self.ids()]
        return {path.parent.name: json.loads(path.read_text()) for path in paths if path.exists()}

    def essence(self) -> dict[str, tuple[Any, ...]]:
        """Per finished cell everything that must not depend on how, where or how often it was run."""
        results = self.results()
        for result in results.values():
            del result["config"]["data"]["workers"]
        return {
            cell: (
                *(result[key] for key in ("status", "weights_sha256", "metrics", "params", "macs", "config")),
                (self.cells / cell / "metrics.csv").read_text(),
            )
            for cell, result in results.items()
        }

    def segments(self) -> dict[str, list[dict[str, Any]]]:
        return {cell: result["segments"] for cell, result in self.results().items()}

    def failure(self, cell: str) -> Any:
        return json.loads((self.cells / cell / "failure.json").read_text())

    def files(self, cells: Sequence[str] | None = None) -> dict[str, tuple[int, int, str]]:
        """Modification time, inode and hash of every file of `cells`, all by default."""
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


def _hear_ctrl_c() -> None:
    """Tests that a shell runs in the background inherit an ignored SIGINT, and their commands with them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Started:
    """A command in a session of its own, so that it and all its descendants can be found, signalled and killed."""

    def __init__(self, command: Sequence[str], folder: Path, name: str) -> None:
        self.paths = [folder / f"{name}.out", folder / f"{name}.err"]
        with self.paths[0].open("w") as out, self.paths[1].open("w") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=out, stderr=err, start_new_session=True, preexec_fn=_hear_ctrl_c
            )

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
            assert self.process.poll() is None, f"ended before {what}: {self.ended()}"
            assert time.monotonic() < end, f"no {what} within {PATIENCE_SECONDS} s"
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9 to the launcher alone: all that it started must end by itself."""
        self.process.kill()
        self.process.wait()
        self.all_end()

    def all_end(self, within: float = 30) -> None:
        """The command and its descendants; loaders look for their parent every 5 s."""
        end = time.monotonic() + within
        while processes := self.processes():
            assert time.monotonic() < end, f"{len(processes)} processes outlive their launcher by {within} s"
            time.sleep(0.05)

    def has_printed(self) -> bool:
        return self.paths[0].stat().st_size > 0

    def interrupt(self) -> None:
        """Ctrl-C: SIGINT to the foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

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

    `quick` makes cells of a second: 20 steps, a checkpoint every 5, 2 steps an epoch. `four_cells` is a small sweep
    for faults: 40 steps, a checkpoint every 5, 16 steps an epoch.
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
        """In this process, whose pool has imported torch already: much faster than a command of its own."""
        from ablations.engine.cli import main

        sweep = importlib.import_module(f"ablations.{self.sweep}").SWEEP
        out, err = io.StringIO(), stderr or io.StringIO()
        torch = sys.modules.get("torch")
        threads = torch.get_num_threads() if torch else None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main(sweep, ["--out", str(self.out), *arguments])
        if torch:
            torch.set_num_threads(threads)  # an inline cell sets its own
        return Ended(int(ended.value.code or 0), out.getvalue(), err.getvalue() if isinstance(err, io.StringIO) else "")

    def in_background(self, *arguments: str) -> Future[Ended]:
        """In a thread of this process."""
        pool = ThreadPoolExecutor(1)
        ended = pool.submit(self.here, *arguments)
        pool.shutdown(wait=False)
        return ended

    def run(self, *arguments: str) -> Ended:
        """As a command."""
        return self.start(*arguments).ended()

    def start(self, *arguments: str) -> Started:
        self.started.append(Started(self.command(*arguments), self.folder, f"command-{len(self.started)}"))
        return self.started[-1]

    def cells(self, *arguments: str) -> dict[str, str]:
        """Name to id, as the dry run lists them."""
        lines = [line.split(maxsplit=2) for line in self.here("--dry-run", *arguments).out.splitlines()[:-1]]
        return {name: cell for cell, _, name in lines}

    def states(self, *arguments: str) -> dict[str, str]:
        """Name to state, as the dry run lists them."""
        lines = [line.split(maxsplit=2) for line in self.here("--dry-run", *arguments).out.splitlines()[:-1]]
        return {name: state for _, state, name in lines}

    def clean_up(self) -> None:
        for started in self.started:
            started.clean_up()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to look after the processes that it kills")
    bench = Bench(tmp_path)
    yield bench
    bench.clean_up()


@pytest.fixture(scope="session")
def make_bench() -> Iterator[Callable[[Path], Bench]]:
    """A bench for fixtures that outlive a test."""
    benches = []

    def make(folder: Path) -> Bench:
        benches.append(Bench(folder))
        return benches[-1]

    yield make
    for bench in benches:
        bench.clean_up()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """`four_cells`, run through without a fault."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"))
    ended = bench.here(*Bench.four_cells, "--jobs", "2")
    assert ended.code == 0, ended
    assert len(bench.ledger.results()) == 4
    return bench.ledger


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[Path, float], subprocess.Popen[str]]]:
    """Hold a cell's folder in another process for some seconds; it has the lock when this returns."""
    holders = []

    def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
        folder.mkdir(parents=True, exist_ok=True)
        program = (
            "import sys, time; from pathlib import Path; from lightning_xvol.ledger.locking import locked\n"
            "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(float(sys.argv[2]))"
        )
        command = [sys.executable, "-c", program, str(folder), str(seconds)]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        holders.append(holder)
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.wait()
        holder.stdout.close()
