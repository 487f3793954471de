"""Options of the command line, which only this conftest can add, and the W&B server of several suites."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.wandb_server import WandbServer

SERVICE_SECONDS = 20


def pytest_configure() -> None:
    """Keep every test away from W&B's own servers; a test that needs a server takes `wandb_server`."""
    os.environ |= {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_ERROR_REPORTING": "false"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--operator",
        action="append",
        default=[],
        metavar="NAME|package.module:Class",
        help="run the property suite of operators on this operator alone; repeatable",
    )


@pytest.fixture
def wandb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A local W&B server for one test. This process and those that it starts talk to no other."""
    server = WandbServer()
    for name, value in server.environment(tmp_path / "wandb-home").items():
        monkeypatch.setenv(name, value)
    _forget_environment()
    yield server
    _forget_environment()
    server.stop()
    assert server.unknown == [], "the client asked for something that the server does not know"


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], None]]:
    """Mount a file system of so many bytes on a folder, or change the size of the one that is there. Only root can."""
    mounted: list[Path] = []

    def mount(folder: Path, size: int) -> None:
        if shutil.which("mount") is None or shutil.which("umount") is None:
            pytest.skip("needs mount and umount")
        again = "remount," * (folder in mounted)
        command = ["mount", "-t", "tmpfs", "-o", f"{again}size={size}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs the right to mount a tmpfs")
        mounted.append(folder)

    yield mount
    for folder in set(mounted):
        subprocess.run(["umount", str(folder)], check=True)


def _forget_environment() -> None:
    """Make W&B's client forget what it read from the environment, and end its service process.

    Sometimes the service drops the connection before it reads the order to end, and the client would wait for ever.
    """
    if "wandb" not in sys.modules:
        return
    import wandb

    watchdog = threading.Timer(SERVICE_SECONDS, _kill_services)
    watchdog.start()
    with contextlib.suppress(SystemExit):  # the client raises it if its service was killed
        wandb.teardown()
    watchdog.cancel()


def _kill_services() -> None:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().rpartition(")")
            if name.endswith("(wandb-core") and int(rest.split()[1]) == os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)
