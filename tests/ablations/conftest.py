"""The benches that sweeps are tested on, a sweep that ran without a fault, and a process that holds a cell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = Path(__file__).with_name("plugins")
sys.path.insert(0, str(PLUGINS))
pytest.register_assert_rewrite("sweep_bench", "struck_sweep")

from sweep_bench import Bench, Ledger  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _paths_for_subprocesses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGINS), str(ROOT), os.environ.get("PYTHONPATH", "")]))
        kept = ("WANDB_BASE_URL", "WANDB_ERROR_REPORTING")  # they keep the tests off W&B's own servers
        for name in [name for name in os.environ if name.startswith("WANDB_") and name not in kept]:
            patch.delenv(name)
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc to look after the processes that it kills")
    bench = Bench(tmp_path)
    yield bench
    bench.clean_up()


@pytest.fixture(scope="session")
def make_bench() -> Iterator[Callable[[Path], Bench]]:
    """A further bench, in a folder that may be new. It may outlive a test."""
    benches = []

    def make(folder: Path) -> Bench:
        folder.mkdir(exist_ok=True)
        benches.append(Bench(folder))
        return benches[-1]

    yield make
    for bench in benches:
        bench.clean_up()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """The ledger of `four_cells`, run through without a fault."""
    bench = Bench(tmp_path_factory.mktemp("undisturbed"))
    ended = bench.here(*Bench.four_cells, "--jobs", "2")
    assert ended.code == 0, ended
    assert len(bench.ledger.results()) == 4
    return bench.ledger


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[Path, float], subprocess.Popen[str]]]:
    """Hold a cell's folder in another process for some seconds. The process has the lock when this returns."""
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
