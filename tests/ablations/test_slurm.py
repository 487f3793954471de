"""A sweep as an array on a Slurm cluster of two nodes, and what can happen to it there."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from slurm_cluster import Cluster
from struck_sweep import StruckSweep
from sweep_bench import Bench

PATIENCE_SECONDS = 240

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with two CPUs each."""
    if reason := slurm_cluster.why_not():
        pytest.skip(reason)
    pytest.importorskip("submitit")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"), nodes=2, cpus=2)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, cluster.environment[name])
        # The sets of this sweep are tiny, and its tasks share the machine.
        patch.setenv("OMP_NUM_THREADS", "1")
        yield cluster
    cluster.stop()


def slow_cells(steps: int, operators: str = "convolution,Slow") -> tuple[str, ...]:
    """The flags of a kernel-size sweep with a row that is slow where SLOW_SECONDS is set."""
    return (
        *("--smoke", "--seeds", "1", "--wandb", "disabled", "--only", "kernel_size=1,3"),
        *("--set", "operator.name=faulty_operators:Slow", "--only", f"operator={operators}"),
        *("--set", "data.limit=64", "--set", f"train.steps={steps}"),
    )


def test_an_array_leaves_what_the_pool_leaves(
    cluster: Cluster, bench: Bench, make_bench: Callable[[Path], Bench], tmp_path: Path
) -> None:
    """The same command again submits nothing."""
    pool = make_bench(tmp_path / "pool")
    flags = (*bench.quick, "--only", "kernel_size=1,3", "--only", "operator=convolution")
    assert pool.here(*flags, "--jobs", "2").code == 0
    ended = bench.here(*flags, "--launcher", "slurm", "--time", "5", "--cpus-per-cell", "1")
    assert ended.code == 0 and "2 cells are in Slurm's array" in ended.out and "[2/2]" in ended.err, ended
    assert bench.ledger.essence() == pool.ledger.essence()
    again = bench.here(*flags, "--launcher", "slurm")
    assert again.code == 0 and "2 done, 0 to run" in again.out and "Slurm's array" not in again.out


def test_a_cell_of_two_nodes_equals_one_of_two_processes(
    cluster: Cluster, bench: Bench, make_bench: Callable[[Path], Bench], tmp_path: Path
) -> None:
    pool = make_bench(tmp_path / "pool")
    flags = (*bench.quick, "--only", "kernel_size=1", "--only", "operator=convolution", "--set", "train.devices=2")
    assert pool.here(*flags, "--launcher", "local").code == 0
    ended = bench.here(*flags, "--launcher", "slurm", "--nodes-per-cell", "2")
    assert ended.code == 0, ended
    assert bench.ledger.essence() == pool.ledger.essence()


def test_mistakes_are_told_in_one_line(cluster: Cluster, bench: Bench) -> None:
    flags = (*bench.quick, "--only", "kernel_size=1", "--only", "operator=convolution", "--launcher", "slurm")
    ended = bench.here(*flags, "--partition", "nowhere")
    assert ended.code == 2
    assert "Slurm refuses the array" in ended.one_error and "partition" in ended.one_error
    ended = bench.here(*flags, "--set", "train.devices=2", "--nodes-per-cell", "3")
    assert ended.code == 2
    assert "--nodes-per-cell 3 must divide the 2 processes" in ended.one_error


def test_a_time_limit_before_the_first_checkpoint_fails_the_cell(
    cluster: Cluster, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a cell would go back to the queue for ever."""
    monkeypatch.setenv("SLOW_SECONDS", "30")
    ended = bench.start(*slow_cells(40), "--launcher", "slurm", "--time", "1").ended(PATIENCE_SECONDS)
    assert ended.code == 1
    assert "the time limit came before the first checkpoint after step 0; give more --time" in ended.out


class StruckArray(StruckSweep):
    """A sweep on the cluster, with the faults of a cluster. Each strikes a slow cell in the middle of its steps."""

    def __init__(self, cluster: Cluster, bench: Bench, *flags: str) -> None:
        super().__init__(bench, *flags, patience=2 * PATIENCE_SECONDS)
        self.cluster = cluster
        self.slow = [cell for name, cell in bench.cells(*flags).items() if name.startswith("Slow")]
        self.hit: dict[str, tuple[str, int]] = {}  # by fault: the cell that it struck and the newest step then

    def strike(self, fault: Callable[[str], None]) -> None:
        """Wait for a slow cell that has saved something in this attempt, and do `fault` to its task."""

        def may_strike() -> bool:
            if not self.running():  # on a loaded machine a time limit may come before any step
                self.start()
            return bool(self._slow_tasks())

        slurm_cluster.wait_for(f"cell for {fault.__name__}", may_strike, PATIENCE_SECONDS)
        cell, task = next(iter(self._slow_tasks().items()))
        fault(task)
        self.hit[fault.__name__] = cell, self.ledger.newest_step(cell)

    def _slow_tasks(self) -> dict[str, str]:
        """The running tasks of slow cells that have saved something since they were last struck."""
        tasks = {cell: self._task(cell) for cell in self.slow}
        before = {cell: max((step for hit, step in self.hit.values() if hit == cell), default=0) for cell in self.slow}
        running = self.cluster.running()
        return {
            cell: task
            for cell, task in tasks.items()
            if task in running and self.ledger.newest_step(cell) > before[cell]
        }

    def _task(self, cell: str) -> str:
        path = self.bench.out / "slurm" / f"{cell}.json"
        return json.loads(path.read_text())["task"] if path.exists() else ""

    def crash_node(self, task: str) -> None:
        node = self.cluster.running()[task]
        self.cluster.crash_node(node)
        slurm_cluster.wait_for("requeue", lambda: node not in self.cluster.running().values(), PATIENCE_SECONDS)
        self.cluster.start_node(node)

    def preempt(self, task: str) -> None:
        node = self.cluster.running()[task]
        self.cluster.submit("--partition=high", "--cpus-per-task=2", f"--nodelist={node}", "--wrap=sleep 3")
        slurm_cluster.wait_for("preemption", lambda: task not in self.cluster.running(), PATIENCE_SECONDS)

    def kill_task(self, task: str) -> None:
        for process in self.cluster.processes_of(task):
            os.kill(process, signal.SIGKILL)
        slurm_cluster.wait_for("death", lambda: task not in self.cluster.running(), PATIENCE_SECONDS)


def test_faults_of_a_cluster_change_nothing(
    cluster: Cluster, bench: Bench, make_bench: Callable[[Path], Bench], tmp_path: Path
) -> None:
    """A node is lost, a cell preempted, a time limit reached, a worker and the launcher killed."""
    steps = 160
    flags = slow_cells(steps, "convolution,xvolution,xvolution_static,Slow")
    undisturbed = make_bench(tmp_path / "undisturbed")
    assert undisturbed.here(*flags, "--jobs", "2").code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLOW_SECONDS", "0.2")
        sweep = StruckArray(cluster, bench, *flags, "--launcher", "slurm", "--time", "2")
        sweep.start()
        sweep.strike(sweep.crash_node)
        sweep.strike(sweep.preempt)
        sweep.commands[-1].kill()
        slurm_cluster.wait_for("the array, which goes on", lambda: bool(cluster.running()), PATIENCE_SECONDS)
        sweep.start()
        sweep.strike(sweep.kill_task)
        sweep.finish(attempts=5)
    sweep.check(undisturbed.ledger.essence())
    segments = bench.ledger.segments()
    print({fault: (cell, step, segments[cell]) for fault, (cell, step) in sweep.hit.items()})
    for fault, (cell, step) in sweep.hit.items():
        starts = [segment["start_step"] for segment in segments[cell]]
        assert starts == sorted(starts), "no attempt begins before the one it follows"
        assert any(start >= step for start in starts), f"the cell hit by {fault} went on from its checkpoint"
    for cell in segments:
        assert sum(segment["end_step"] == steps for segment in segments[cell]) == 1, f"{cell} ended once"
    logs = {path.parent.name: path.read_text() for path in bench.ledger.cells.glob("*/log.txt")}
    timed_out = [cell for cell, log in logs.items() if "timed-out" in log and "Requeued job" in log]
    assert timed_out, "the time limit came too"
    for cell in timed_out:
        assert segments[cell][-1]["start_step"] > 0, f"{cell}, which ran into it, went on from its checkpoint"
