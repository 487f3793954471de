"""Options of the command line, which only a conftest of the root can add, and the W&B server of several suites."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wandb_server import WandbServer


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
    """W&B's client keeps what it read from the environment, and its service process, until it is torn down."""
    if "wandb" in sys.modules:
        import wandb

        wandb.teardown()
