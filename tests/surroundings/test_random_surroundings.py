"""Ten surroundings at once, drawn at random, change neither the weights nor the table of a cell."""

from __future__ import annotations

import csv
import json
import os
import random
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (
    *("-m", "ablations.kernel_size", "--smoke", "--set", "train.steps=5", "--seeds", "1", "--wandb", "disabled"),
    *("--only", "kernel_size=1", "--only", "operator=convolution"),
)
AT_ONCE = 10
QUICK, SLOW = range(1), range(1, 20)


@dataclass
class Shell:
    """How a command is started.

    Attributes:
        folder: a new folder of the test.
        env: variables to set; None removes one.
        redirections: what the shell puts after the command.
        before: commands of the shell before it.
    """

    folder: Path
    env: dict[str, str | None] = field(default_factory=dict)
    redirections: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)

    def run(self, out: Path) -> subprocess.CompletedProcess[str]:
        chosen = {"PYTHONPATH": "", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **self.env}
        chosen["PYTHONPATH"] = f"{chosen['PYTHONPATH']}{os.pathsep}{ROOT}"
        env = {name: value for name, value in {**os.environ, **chosen}.items() if value is not None}
        line = shlex.join([sys.executable, *COMMAND, "--out", os.fspath(out)])
        script = "; ".join([*self.before, f"exec {line} {' '.join(self.redirections)}"])
        return subprocess.run(["sh", "-c", script], env=env, cwd=self.folder, capture_output=True, text=True)


def _set(**env: str | None) -> Callable[[Shell], None]:
    return lambda shell: shell.env.update(env)


def _redirect(text: str) -> Callable[[Shell], None]:
    return lambda shell: shell.redirections.append(text)


def _before(text: str) -> Callable[[Shell], None]:
    return lambda shell: shell.before.append(text)


def _long_folder_for_temporary_files(shell: Shell) -> None:
    folder = shell.folder / ("t" * 100)
    folder.mkdir()
    shell.env["TMPDIR"] = os.fspath(folder)


def _another_matplotlibrc(shell: Shell) -> None:
    (shell.folder / "matplotlibrc").write_text("font.size: 30\ntext.usetex: True\nsavefig.dpi: 20\n")
    shell.env["MATPLOTLIBRC"] = os.fspath(shell.folder / "matplotlibrc")


def _another_clock(shell: Shell) -> None:
    """Python's clock is ten years ahead."""
    (shell.folder / "ahead").mkdir()
    text = "import time\nreal = time.time\ntime.time = lambda: real() + 10 * 365 * 86400\n"
    (shell.folder / "ahead" / "sitecustomize.py").write_text(text)
    shell.env["PYTHONPATH"] = os.fspath(shell.folder / "ahead")


SURROUNDINGS: dict[str, Callable[[Shell], None]] = {
    "defaults of Lightning": _set(PL_TRAINER_OVERFIT_BATCHES="1", PL_TRAINER_FAST_DEV_RUN="1", PL_GLOBAL_SEED="5"),
    "ranks": _set(RANK="1", LOCAL_RANK="1", WORLD_SIZE="2", MASTER_ADDR="nowhere.invalid", MASTER_PORT="1"),
    "Slurm": _set(SLURM_JOB_ID="7", SLURM_NTASKS="2", SLURM_JOB_NAME="left", SLURM_NODEID="0", SLURM_LOCALID="1"),
    "threads": _set(OMP_NUM_THREADS="3", MKL_NUM_THREADS="2"),
    "hash seed": _set(PYTHONHASHSEED="7"),
    "a notebook's backend": _set(MPLBACKEND="module://no_such_package.backend_inline"),
    "ASCII streams": _set(PYTHONIOENCODING="ascii"),
    "another locale": _set(LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    "git of another repository": _set(GIT_DIR="/nowhere/.git", GIT_INDEX_FILE="/nowhere/index"),
    "no home": _set(HOME=None, XDG_CACHE_HOME=None),
    "another time zone": _set(TZ="Pacific/Kiritimati"),
    "no terminal": _set(TERM="dumb", COLUMNS="20", NO_COLOR="1"),
    "modes of W&B": _set(WANDB_MODE="online", WANDB_PROJECT="other", WANDB_RUN_ID="abc"),
    "closed stdin": _redirect("<&-"),
    "closed stdout": _redirect(">&-"),
    "closed stderr": _redirect("2>&-"),
    "umask": _before("umask 077"),
    "another priority": _before("renice -n 5 $$ >/dev/null 2>&1"),
    "few open files": _before("ulimit -n 256"),
    "another folder": _before("mkdir -p elsewhere; cd elsewhere"),
    "a long folder for temporary files": _long_folder_for_temporary_files,
    "matplotlibrc": _another_matplotlibrc,
    "clock": _another_clock,
}


def _file_in_the_place_of_out(shell: Shell) -> None:
    (shell.folder / "runs").write_text("a file")


REFUSED: dict[str, Callable[[Shell], None]] = {
    "several tasks": _set(TORCHELASTIC_RUN_ID="none", WORLD_SIZE="2", RANK="1", LOCAL_RANK="1"),
    "an --out that cannot be written to": _file_in_the_place_of_out,
}
"""The surroundings that a command may refuse. None of them is drawn; every other one must succeed."""


def results(out: Path) -> dict[str, Any]:
    [path] = out.glob("cells/*/result.json")
    result = json.loads(path.read_text())
    tables: dict[str, Any] = {name: (out / "kernel_size" / f"table.{name}").read_bytes() for name in ("md", "tex")}
    with (out / "kernel_size" / "table.csv").open(newline="") as file:
        timeless = {"wall_seconds": "", "cpu_seconds": ""}  # no two runs take equally long
        tables["csv"] = [row | timeless for row in csv.DictReader(file)]
    figures = {name: (out / "kernel_size" / f"figure.{name}").read_bytes() for name in ("png", "svg")}
    kept = {"predictions": path.with_name("predictions.npz").read_bytes()}
    return {key: result[key] for key in ("cell_id", "weights_sha256", "metrics")} | tables | figures | kept


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("clean")
    done = Shell(folder).run(folder / "runs")
    assert done.returncode == 0, done.stderr
    return results(folder / "runs")


@pytest.mark.parametrize("draw", [*QUICK, *(pytest.param(number, marks=pytest.mark.slow) for number in SLOW)])
def test_ten_surroundings_at_once_change_nothing(draw: int, clean: dict[str, Any], tmp_path: Path) -> None:
    drawn = random.Random(draw).sample(list(SURROUNDINGS), AT_ONCE)
    shell = Shell(tmp_path)
    for name in drawn:
        SURROUNDINGS[name](shell)
    done = shell.run(tmp_path / "runs")
    assert done.returncode == 0, f"{drawn}: {done.stderr[-2000:]}"
    found = results(tmp_path / "runs")
    different = [key for key in clean if found[key] != clean[key]]
    assert not different, f"{different} differ among {drawn}"


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_refused_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    REFUSED[name](shell)
    done = shell.run(tmp_path / "runs")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.glob("runs/*"))
