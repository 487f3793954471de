"""The script for a GPU: its plan, its compiler without a GPU, and its answer where there is no GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import gpu_check
from lightning_xvol.errors import UserError
from lightning_xvol.kernels import triton


def test_the_plan_fits_eight_minutes_and_names_every_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(["--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert all(variant.name in printed for variant in gpu_check.VARIANTS)
    assert sum(seconds for _, seconds, _ in gpu_check.PLAN) <= 480
    with pytest.raises(UserError, match="--only nonsense: no such step"):
        gpu_check.main(["--only", "nonsense"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no CUDA device here; --dry-run prints the plan"):
        gpu_check.main(["--out", str(tmp_path)])


@pytest.mark.skipif(not triton.INSTALLED, reason="Triton is not installed")
def test_registers_and_spills_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    rows = gpu_check._compile((90, gpu_check.VARIANTS[1], "hadamard", "channels_last"))
    assert [row["program"] for row in rows] == ["forward", "backward"]
    assert all(16 <= row["registers"] <= 255 and row["spilled_bytes"] >= 0 for row in rows)
    assert triton.WARPS == 4, "the constants are as before"
