"""Options of the command line, which only a conftest of the root can add."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--operator",
        action="append",
        default=[],
        metavar="NAME|package.module:Class",
        help="run the operators' property suite on this operator only; may be given again",
    )
