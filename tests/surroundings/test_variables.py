"""A user without a home folder, a folder for temporary files with a long name, and what other programs set."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lightning_xvol.surroundings import variables

ROOT = Path(__file__).resolve().parents[2]


def run(program: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.fspath(ROOT)} | env,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_a_user_without_a_home_has_no_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", _no_home)
    assert variables.home() is None
    assert variables.cache_folder() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/chosen")
    assert variables.cache_folder() == Path("/chosen/lightning-xvol")


def test_a_user_without_a_home_is_lent_one_until_the_end() -> None:
    program = """
import os, pathlib
def none():
    raise RuntimeError("no home")
pathlib.Path.home = none
from lightning_xvol.surroundings import variables
variables.make_usable()
print(os.environ["HOME"] if os.path.isdir(os.environ["HOME"]) else "")
if os.fork() == 0:
    raise SystemExit(0)
os.wait()
assert os.path.isdir(os.environ["HOME"]), "a forked process leaves it alone"
"""
    lent = run(program)
    assert lent
    assert not Path(lent).exists()


def test_sockets_work_where_the_folder_for_temporary_files_has_a_long_name(tmp_path: Path) -> None:
    long = tmp_path / ("t" * 100)
    long.mkdir()
    program = """
import multiprocessing, tempfile
from lightning_xvol.surroundings import variables
variables.make_usable()
from multiprocessing.connection import Listener
Listener(family="AF_UNIX").close()
print(tempfile.gettempdir())
"""
    assert run(program, TMPDIR=os.fspath(long)) == os.fspath(long), "other files go where the user says"


def test_a_short_folder_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "_shorten_sockets", lambda: pytest.fail("the name is short enough"))
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    variables.make_usable()


@pytest.mark.parametrize("value", ["abc", "", "-1", "1.5", "9" * 12, "9" * 5000])
def test_a_date_that_libraries_cannot_read_is_removed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    variables.make_usable()
    assert "SOURCE_DATE_EPOCH" not in os.environ


@pytest.mark.parametrize("value", ["0", "1700000000", "9" * 11])
def test_a_date_that_libraries_can_read_stays(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", value)
    variables.make_usable()
    assert os.environ["SOURCE_DATE_EPOCH"] == value
    assert datetime.fromtimestamp(int(value), UTC), "as matplotlib does"


def test_switches_of_libraries_stop_no_import() -> None:
    program = """
from lightning_xvol import surroundings
surroundings.prepare()
import numpy, pandas, scipy.stats
print(pandas.Series(["a"]).dtype)
"""
    wrong = {
        "PANDAS_FUTURE": "abc",
        "PANDAS_FUTURE_INFER_STRING": "2",
        "NUMPY_MADVISE_HUGEPAGE": "",
        "SYMPY_DEBUG": "x",
    }
    assert run(program, SOURCE_DATE_EPOCH="today", **wrong) == run(program)


def test_a_notebook_s_backend_does_not_stop_a_figure() -> None:
    program = """
from lightning_xvol import surroundings
surroundings.prepare()
import matplotlib.pyplot
print(matplotlib.get_backend().lower())
"""
    assert run(program, MPLBACKEND="module://no_such_package.backend_inline") == "agg"
