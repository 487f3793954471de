"""Runs `python -m lightning_xvol` in the process of a test. A conftest imports `call` to offer it to its folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from lightning_xvol import __main__


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`python -m lightning_xvol ARGUMENTS`; returns the exit code."""

    def run(*arguments: Any) -> int:
        monkeypatch.setattr(sys, "argv", ["lightning_xvol", *map(str, arguments)])
        return __main__.main()

    return run
