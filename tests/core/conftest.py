"""Runs each in another process, forked from a server that has imported torch once and computed nothing."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = Path(__file__).with_name("plugins")
sys.path.insert(0, str(PLUGINS))

import core_tools  # noqa: E402

PATIENCE_SECONDS = 120
# The whole session shares one server with the pool of ablations; the first to start it decides what it imports.
PRELOAD = [
    "lightning_xvol.training.run",
    "lightning_xvol.backbones.small_resnet",
    "lightning_xvol.data.match",
    "lightning_xvol.operators.convolution",
    "pytorch_lightning.loggers.wandb",
    "sklearn.datasets",
    "wandb",
    "wandb.sdk.launch",
]


@pytest.fixture(scope="session", autouse=True)
def _plugins_for_subprocesses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGINS), str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_DIR", "WANDB_RUN_ID"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def fork() -> Callable[..., Any]:
    """Start a function in another process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)

    def start(function: Callable[..., None], *args: Any, **kwargs: Any) -> Any:
        process = context.Process(target=function, args=args, kwargs=kwargs)
        process.start()
        return process

    return start


def wait(process: Any) -> int:
    process.join(PATIENCE_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        pytest.fail(f"the process did not end within {PATIENCE_SECONDS} s")
    return process.exitcode


@pytest.fixture(scope="session")
def run(fork: Callable[..., Any]) -> Callable[..., int]:
    """Train a config in a folder, in another process; returns its exit code. FOLDER.log holds its output."""

    def train(config: Any, folder: Path, *, expect: int | None = 0, **kwargs: Any) -> int:
        log = folder.with_name(f"{folder.name}.log")
        code = wait(fork(core_tools.train_in_process, core_tools.plain(config), folder, log, **kwargs))
        assert expect is None or code == expect, f"exit code {code}: {log.read_text()[-3000:]}"
        return code

    return train


@pytest.fixture
def command(fork: Callable[..., Any], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """`python -m lightning_xvol ARGUMENTS` in the folder tmp_path/work, in another process."""
    work = tmp_path / "work"
    work.mkdir()
    log = tmp_path / "command.log"

    def call(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess:
        log.unlink(missing_ok=True)
        code = wait(fork(core_tools.command_in_process, arguments, work, log, environment=environment))
        return subprocess.CompletedProcess(arguments, code, log.read_text(), log.with_suffix(".err").read_text())

    return call
