"""Launchers: GPUs found without a CUDA call, flags of another launcher, and answers of Slurm's queue."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablations.engine.launchers import local
from ablations.engine.launchers.gpus import Slots, list_gpus
from ablations.engine.launchers.slurm import Resources, _Watch
from ablations.engine.options import minutes
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files, record


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tool of that name which lists four GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tools = tmp_path / "tools"
    tools.mkdir()
    tool = tools / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$*" = "--query-gpu=index --format=csv,noheader" ] && printf "0\\n1\\n2\\n3\\n"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    return tool


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["0", "1", "2", "3"]),
        ("", []),
        ("2", ["2"]),
        ("3, 0", ["3", "0"]),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("1,4,2", ["1"]),  # there are four
        ("2,2", []),
        ("none", []),
        ("1,none,2", ["1"]),
        ("GPU-a1, GPU-b2", ["GPU-a1", "GPU-b2"]),
        ("MIG-a1,GPU-b2", ["MIG-a1"]),
        ("GPU-a1,0", ["GPU-a1"]),
    ],
)
def test_gpus_are_those_that_cuda_would_show(
    visible: str | None, expected: list[str], nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert list_gpus() == expected


def test_without_a_working_tool_there_are_no_gpus(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi.write_text("#!/bin/sh\necho 'no devices were found'; exit 6\n")
    assert list_gpus() == []
    monkeypatch.setenv("PATH", "/nowhere")
    assert list_gpus() == []


def test_cells_share_no_gpu_and_the_next_cell_takes_those_given_back() -> None:
    slots = Slots(["0", "1", "2", "3"], jobs=2, devices=2, cells_per_gpu=1)
    first, second = slots.take(2), slots.take(2)
    assert sorted(first + second) == ["0", "1", "2", "3"]
    slots.give_back(first)
    assert slots.take(2) == first


def test_cells_that_share_are_spread_evenly() -> None:
    slots = Slots(["0", "1"], jobs=4, devices=1, cells_per_gpu=2)
    assert sorted(slots.take(1)[0] for _ in range(4)) == ["0", "0", "1", "1"]


@pytest.mark.parametrize(("jobs", "devices", "cells_per_gpu"), [(3, 1, 1), (2, 2, 1), (5, 1, 2), (1, 3, 4)])
def test_more_cells_than_room_on_the_gpus_are_refused(jobs: int, devices: int, cells_per_gpu: int) -> None:
    with pytest.raises(UserError, match=f"--jobs {jobs} with train.devices={devices}.* there are 2 GPUs"):
        Slots(["0", "1"], jobs, devices, cells_per_gpu)


def test_a_machine_without_gpus_limits_nothing() -> None:
    assert Slots([], jobs=100, devices=2, cells_per_gpu=1).take(2) == []


def test_the_processes_of_cells_see_their_own_gpus(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable names them. There need not be any."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,9")
    row = ("--set", "operator.name=faulty_operators:SaysGPUs", "--only", "operator=SaysGPUs")
    ended = bench.here(*bench.quick, *row, "--only", "kernel_size=1,3", "--jobs", "2")
    assert ended.code == 0, ended
    seen = ["GPUs 7\n" in path.read_text() for path in bench.ledger.cells.glob("*/log.txt")]
    others = ["GPUs 9\n" in path.read_text() for path in bench.ledger.cells.glob("*/log.txt")]
    assert sorted(seen) == [False, True] and others == [not one for one in seen]


def test_the_server_makes_no_cuda_call() -> None:
    """Forked after one, no process could use a GPU; nothing that the server imports may ask for one."""
    program = """
import torch
def forbidden(*arguments, **keywords):
    raise AssertionError("a CUDA call in the server")
for name in ("is_available", "device_count", "current_device", "init", "_lazy_init", "get_device_properties"):
    setattr(torch.cuda, name, forbidden)
torch._C._cuda_getDeviceCount = forbidden
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
assert not torch.cuda.is_initialized()
"""
    done = subprocess.run([sys.executable, "-c", program, *local.PRELOAD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5), ("5:30", 6), ("1:00:00", 60), ("2-0", 2880), ("1-2:30", 1590), ("1-2:30:01", 1591), ("0:10", 1)],
)
def test_time_is_written_as_slurm_writes_it(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--partition gpu", "--partition gpu; --launcher slurm; --launcher inline"),
        ("--time 5 --jobs 2", "--time 5; --launcher slurm; --launcher local"),
        ("--launcher local --array-parallelism 4", "--array-parallelism 4; --launcher slurm; --launcher local"),
        ("--launcher slurm --jobs 2", "--jobs 2; --launcher local; --launcher slurm"),
        ("--launcher inline --cells-per-gpu 2", "--cells-per-gpu 2; --launcher local"),
        ("--launcher inline --gpus-per-cell 2", "train.devices=2; --launcher inline; local or slurm"),
        ("--launcher slurm --time soon", "--time; 'soon'; H:M:S"),
        ("--launcher slurm --time 0", "--time; '0'; one minute"),
        ("--gpus-per-cell 3 --set data.batch_size=32", "32; 3"),
    ],
)
def test_a_flag_of_another_launcher_is_refused(flags: str, words: str, bench: Any) -> None:
    ended = bench.here("--smoke", "--seeds", "1", *flags.split())
    assert ended.code == 2
    assert all(word in ended.one_error for word in words.split("; ")), ended.err
    assert not bench.out.exists()


def test_gpus_per_cell_sets_the_number_of_processes(bench: Any) -> None:
    assert bench.cells("--gpus-per-cell", "2") == bench.cells("--set", "train.devices=2") != bench.cells()


def test_a_machine_without_slurm_is_told_so(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    ended = bench.here("--smoke", "--launcher", "slurm")
    assert ended.code == 2
    assert "--launcher slurm needs" in ended.one_error and ("sbatch" in ended.err or "submitit" in ended.err)
    assert not bench.out.exists()


def test_an_environment_without_submitit_is_told_so(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ended = bench.here("--smoke", "--launcher", "slurm")
    assert ended.code == 2 and "submitit, which is not installed here" in ended.one_error


def test_what_a_cell_of_several_nodes_asks_for() -> None:
    asked = Resources("gpu", devices=8, gpus=8, cpus=6, nodes=2, minutes=240, parallelism=3).parameters()
    assert (asked["nodes"], asked["ntasks_per_node"], asked["gpus_per_node"], asked["cpus_per_task"]) == (2, 4, 4, 6)
    assert (asked["time"], asked["array_parallelism"], asked["partition"]) == (240, 3, "gpu")
    assert asked["additional_parameters"] == {"requeue": True}
    plain = Resources(None, devices=1, gpus=0, cpus=None, nodes=1, minutes=1, parallelism=None).parameters()
    assert not {"partition", "gpus_per_node", "cpus_per_task", "array_parallelism"} & set(plain)
    assert plain["signal_delay_s"] == 15, "a short limit leaves time to work"


class Heard(list[tuple[Any, ...]]):
    """An observer that keeps what it is told."""

    def started(self, cell: Any) -> None:
        self.append(("started",))

    def progressed(self, cell: Any, reached: Any) -> None:
        self.append(("progressed", reached.step, reached.total))

    def ended(self, cell: Any, outcome: str, detail: str) -> None:
        self.append((outcome, detail))


class TestWatch:
    """The launcher reports a cell by the answers of Slurm's queue, here dictionaries, and by the cell's folder."""

    @pytest.fixture(autouse=True)
    def _watch(self, tmp_path: Path) -> None:
        from ablations.engine.cell import SweepContext
        from ablations.engine.cells import make_cells
        from ablations.kernel_size import SWEEP
        from lightning_xvol.config.recipes import get_recipe

        self.cell = make_cells(SWEEP, get_recipe("match_small"), seeds=1)[0]
        self.context = SweepContext(tmp_path, "kernel_size", None, False, "disabled", "project")
        self.folder = files.make_folder(self.cell.folder(tmp_path))
        self.heard = Heard()
        self.watch = _Watch(self.cell, self.context, "5_1", self.heard)

    def test_a_task_that_runs_and_vanishes_has_failed(self) -> None:
        assert not self.watch.look({"5_1": "PENDING"})
        assert self.heard == []
        files.write_json(
            files.make_folder(self.context.out / "slurm") / f"{self.cell.id}.progress.json", {"step": 3, "total": 9}
        )
        assert not self.watch.look({"5_1": "RUNNING"})
        assert self.heard == [("started",), ("progressed", 3, 9)]
        gone: dict[str, str] = {}
        assert not self.watch.look(gone) and not self.watch.look(gone), "one answer of the queue is not enough"
        assert self.watch.look({})
        assert self.heard[-1] == ("failed", "Slurm's task 5_1 ended without a result")
        assert files.read_json(self.folder / "failure.json")["attempt"] == 1

    def test_a_queue_that_does_not_answer_is_no_end(self) -> None:
        for queue in ({}, None, {}, None, {"5_1": "PENDING"}, {}):
            assert not self.watch.look(queue)

    def test_a_task_that_is_requeued_between_two_looks_has_not_ended(self) -> None:
        assert not self.watch.look({}) and not self.watch.look({"5_1": "PENDING"}) and not self.watch.look({})

    def test_a_failure_of_this_attempt_is_told_and_an_older_one_is_not(self) -> None:
        record.write_failure(self.folder, "OldError: before", 1)
        watch = _Watch(self.cell, self.context, "5_1", self.heard)
        watch.look({})
        record.write_failure(self.folder, "NewError: now", 2)
        assert watch.look({})
        assert self.heard[-1] == ("failed", "NewError: now")

    def test_a_cell_that_another_process_holds_is_held(self, hold: Any) -> None:
        hold(self.folder, 60)
        self.watch.look({})
        assert self.watch.look({})
        assert self.heard[-1] == ("held", "another process works on it")
