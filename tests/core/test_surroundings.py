"""Nothing in the environment of a process changes a run: Lightning's defaults, process variables, threads, git."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from core_tools import outcome, result_of, tiny
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.argparse import _defaults_from_env_vars

from lightning_xvol import processes
from lightning_xvol.commandline import is_helper_process
from lightning_xvol.config.schema import to_dict
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import record
from lightning_xvol.training import environment
from lightning_xvol.training.run import RunContext, train
from lightning_xvol.training.tracking import Tracking
from lightning_xvol.training.trainer import Threads, make_trainer

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("lightning_xvol", "ablations", "analysis", "benchmarks")
ARGUMENTS = list(inspect.signature(Trainer).parameters)
LEFT_OVER = {
    "RANK": "1", "LOCAL_RANK": "1", "NODE_RANK": "1", "GROUP_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "nowhere.invalid", "MASTER_PORT": "1",
    "SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0",
    "SLURM_NNODES": "1", "SLURM_JOB_NAME": "left", "SLURM_STEP_NUM_TASKS": "2", "SLURM_TASK_PID": "1",
    "JSM_NAMESPACE_RANK": "1", "OMPI_COMM_WORLD_RANK": "0", "PMI_RANK": "1",
}  # fmt: skip
LIGHTNING = {
    "PL_TRAINER_OVERFIT_BATCHES": "1", "PL_TRAINER_FAST_DEV_RUN": "1", "PL_TRAINER_MAX_TIME": "00:00:00:01",
    "PL_TRAINER_LIMIT_TRAIN_BATCHES": "1", "PL_TRAINER_DETERMINISTIC": "1", "PL_GLOBAL_SEED": "5",
}  # fmt: skip


# ---- Lightning's own variables


def test_no_argument_of_the_trainer_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    @functools.wraps(inspect.unwrap(Trainer.__init__))
    def note(self: Trainer, **arguments: object) -> None:
        seen.update(arguments)

    for argument in ARGUMENTS:
        monkeypatch.setenv(f"PL_TRAINER_{argument.upper()}", "'from the environment'")
    monkeypatch.setattr(Trainer, "__init__", _defaults_from_env_vars(note))
    Trainer()
    assert set(seen) == set(ARGUMENTS), "the test sees what Lightning takes from the environment"
    assert set(seen.values()) == {"from the environment"}
    make_trainer(threads=1, max_steps=7)
    assert seen.pop("max_steps") == 7
    assert [type(callback) for callback in seen.pop("callbacks")] == [Threads]
    defaults = {name: argument.default for name, argument in inspect.signature(Trainer).parameters.items()}
    assert seen == {name: defaults[name] for name in seen}


def test_every_trainer_of_the_packages_is_made_in_one_place() -> None:
    makers = []
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Trainer":
                makers.append(path.relative_to(ROOT).as_posix())
    assert makers == ["lightning_xvol/training/trainer.py"]


def test_the_number_of_threads_is_that_of_the_run_whatever_lightning_sets_meanwhile() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        Threads(1).setup(None, None, "fit")  # type: ignore[arg-type]
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


# ---- a run in a shell that holds the variables of other work


def test_a_shell_full_of_other_variables_changes_nothing(tmp_path: Path) -> None:
    config = tiny(train__steps=3)
    clean, full = tmp_path / "clean", tmp_path / "full"
    train(config, record.cell_folder(clean, record.cell_id(config)), RunContext(tracking=Tracking("disabled")))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(to_dict(config)))
    threads = {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "lightning_xvol", "fit", "--config", "run.yaml", "--wandb", "disabled"]
    done = subprocess.run(
        [*command, "--out", "full"],
        env=os.environ | LEFT_OVER | LIGHTNING | threads | {"PYTHONPATH": os.fspath(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "record in" in done.stdout
    one, other = (next(iter((out / "cells").iterdir())) for out in (clean, full))
    assert {path.name for path in other.iterdir()} == {path.name for path in one.iterdir()}
    assert outcome(other) == outcome(one)


def test_a_run_leaves_the_variables_of_the_process_as_they_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in LEFT_OVER.items():
        monkeypatch.setenv(name, value)
    names = (*processes.VARIABLES, processes.STARTED_BY)
    before = {name: os.environ.get(name) for name in names}
    assert not is_helper_process()
    train(tiny(train__steps=2), tmp_path, RunContext(tracking=Tracking("disabled")))
    assert {name: os.environ.get(name) for name in names} == before
    assert result_of(tmp_path)["status"] == "finished"


def test_only_the_suite_gives_a_process_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert processes.rank() == 0
    with processes.own_variables():
        assert "RANK" not in os.environ
        assert processes.rank() == 0
    monkeypatch.setenv(processes.STARTED_BY, "1")  # as in a helper that Lightning starts for the process 1
    assert processes.rank() == 2
    monkeypatch.delenv(processes.STARTED_BY)
    monkeypatch.setattr(processes, "_joined", {})
    processes.join_run(1, 1, 0, "127.0.0.1", 9)
    assert processes.rank() == 1
    with processes.own_variables():
        assert (os.environ["RANK"], os.environ["MASTER_PORT"]) == ("1", "9")
    assert (os.environ["RANK"], "MASTER_PORT" in os.environ) == ("3", False)


# ---- a command that a launcher starts several times

SRUN = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
MPIRUN = {"OMPI_COMM_WORLD_SIZE": "2"}
NO_START: dict[str, dict[str, str]] = {
    "one task": {**SRUN, "SLURM_STEP_NUM_TASKS": "1"},
    "an allocation of several tasks": {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"},
    "a batch script of several tasks": {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_TASK_PID": str(os.getpid())},
    "what a shell still holds": {**SRUN, "SLURM_TASK_PID": "999999999"},
    "a shell that trained with torch": {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a"},
    "an agent of W&B in each task": {**SRUN, "WANDB_SWEEP_ID": "abc"},
}


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in {*SRUN, *TORCHRUN, *MPIRUN, *LEFT_OVER, "WANDB_SWEEP_ID"}:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("launcher", "found"),
    [
        ("srun", SRUN),
        ("srun", {**SRUN, "SLURM_TASK_PID": str(os.getppid())}),
        ("torchrun", TORCHRUN),
        ("mpirun", MPIRUN),
    ],
)
def test_a_command_that_is_started_several_times_says_how_to_do_it(
    launcher: str, found: Mapping[str, str], variables: pytest.MonkeyPatch
) -> None:
    for name, value in found.items():
        variables.setenv(name, value)
    with pytest.raises(UserError, match=rf"^{launcher} starts this command 2 times, .*--gpus-per-cell N"):
        processes.refuse_several_tasks()


@pytest.mark.parametrize("case", NO_START)
def test_anything_else_is_no_such_start(case: str, variables: pytest.MonkeyPatch) -> None:
    for name, value in NO_START[case].items():
        variables.setenv(name, value)
    processes.refuse_several_tasks()


@pytest.mark.parametrize("command", ["lightning_xvol fit", "ablations.kernel_size", "ablations.all"])
def test_every_command_that_trains_refuses_before_it_writes(command: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", *command.split(), "--out", os.fspath(tmp_path / "out")]
    done = subprocess.run(line, env=os.environ | TORCHRUN, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--gpus-per-cell" in done.stderr
    assert not (tmp_path / "out").exists()


# ---- what a record says of the surroundings


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "file").write_text("one")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "file"], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def test_the_commit_is_that_of_the_code_inside_a_hook_of_another_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = environment.commit()
    for name, value in {
        "GIT_DIR": ".git", "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": ".git/index", "GIT_OBJECT_DIRECTORY": ".git/objects",
        "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "status.branch", "GIT_CONFIG_VALUE_0": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, os.fspath(repository / value) if value.startswith(".") else value)
    assert environment.commit() == before


def test_asking_for_the_commit_leaves_the_index_as_it_is(repository: Path) -> None:
    index = repository / ".git" / "index"
    (repository / "file").touch()  # git would note the new time in its index
    os.utime(repository / "file", (1, 1))
    before = index.read_bytes()
    environment._git(repository, "status", "--porcelain", "--untracked-files=no")
    assert index.read_bytes() == before


def test_a_record_names_the_variables_that_choose_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    variables = environment.describe(tiny())["variables"]
    assert "ATEN_CPU_CAPABILITY=default" in variables
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in variables
