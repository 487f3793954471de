"""One thread, `attention_cases` for the tests here and for those on a GPU, and a faster interpreter of Triton."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_xvol.kernels import triton
from tests.threads import one_thread as one_thread

sys.path.insert(0, str(Path(__file__).parent))

_patched: set[str] = set()


@pytest.fixture(autouse=True)
def _patch_triton_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's interpreter patches its language for each launch, and needlessly at every call of a device function.

    Without the latter these tests take less than half the time. Triton's own functions need it once.
    """
    if not triton.INTERPRETED:
        return
    from triton.runtime import interpreter

    def call(function: Any, *arguments: Any, **named: Any) -> Any:
        module = function.fn.__module__
        if not module.startswith("lightning_xvol.") and module not in _patched:
            interpreter._patch_lang(function.fn)
            _patched.add(module)
        return function.rewrite()(*arguments, **named)

    monkeypatch.setattr(interpreter.InterpretedFunction, "__call__", call)
