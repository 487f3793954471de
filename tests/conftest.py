"""Options of the command line, which only a conftest of the root can add, and the W&B server of several suites."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wandb_server import WandbServer

SERVICE_SECONDS = 20


def pytest_configure() -> None:
    """No test reaches W&B's own servers: one that needs a server takes `wandb_server`."""
    os.environ |= {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_ERROR_REPORTING": "false"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--operator",
        action="append",
        default=[],
        metavar="NAME|package.module:Class",
        help="run the operators' property suite on this operator only; may be given again",
    )


@pytest.fixture
def wandb_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A W&B server of the test's own, to which this process and those that it starts talk alone."""
    server = WandbServer()
    for name, value in server.environment(tmp_path / "wandb-home").items():
        monkeypatch.setenv(name, value)
    _forget_settings()
    yield server
    _forget_settings()
    server.stop()
    assert server.unknown == [], "the client asks for what the server does not know"


def _forget_settings() -> None:
    """W&B's client keeps what it read from the environment, and its service process, until it is torn down.

    The service at times drops the connection before it reads that it is to end, and the client waits for it for ever.
    """
    if "wandb" not in sys.modules:
        return
    import wandb

    watchdog = threading.Timer(SERVICE_SECONDS, _kill_services)
    watchdog.start()
    with contextlib.suppress(SystemExit):  # the client's answer to a service that was killed
        wandb.teardown()
    watchdog.cancel()


def _kill_services() -> None:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().rpartition(")")
            if name.endswith("(wandb-core") and int(rest.split()[1]) == os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)
