"""The Triton kernels without a GPU: in the interpreter, in Triton's compiler, and the choice of the path."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from attention_cases import CL, NCHW, Case
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.gpu_check.compiled import recording
from lightning_xvol import kernels
from lightning_xvol.errors import UserError
from lightning_xvol.kernels import triton
from lightning_xvol.operators import build_operator

installed = pytest.mark.skipif(not triton.INSTALLED, reason="triton is not installed: it comes with torch for Linux")


def interpret(*flags: str) -> None:
    """Run the files `interpreted*.py` in a process in which Triton interprets its programs."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *flags]
    done = subprocess.run(
        [*command, *map(str, sorted(Path(__file__).parent.glob("interpreted*.py")))],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


@installed
def test_interpreted_kernels_are_right() -> None:
    interpret("-m", "not slow")


@installed
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_interpreted_kernels_are_right_on_the_whole_grid() -> None:
    interpret("-m", "slow", "--timeout=3600")


@installed
@pytest.mark.parametrize(
    ("capability", "case"),
    [
        (80, Case("dot", (14, 14), 128, 2, static=True, dtype=torch.bfloat16, formats=(CL, CL, CL))),
        (90, Case("hadamard", (14, 14), 128, dtype=torch.bfloat16, formats=(CL, CL, CL))),
        (90, Case("hadamard", (14, 14), 128, stride=2, formats=(NCHW, NCHW, NCHW))),
        (80, Case("hadamard", (1, 1), 64)),
    ],
    ids=str,
)
def test_programs_compile_for_a_gpu(
    capability: int, case: Case, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both programs become machine code. In channels_last they load 16 bytes at once."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    query, *tensors = case.tensors()
    with recording() as launches:
        triton.attend(query, *tensors, list(case.distances), case.stride)
        triton.attend_backward(query, query, *tensors, list(case.distances), case.stride)
    assert [launch.name for launch in launches] == ["forward", "backward"]
    for launch in launches:
        program = launch.compile(capability)
        assert program.asm["cubin"]
        wide = re.findall(r"ld\.global\S*\.v4\.b32", program.asm["ptx"])
        # The query, and key and value at eight taps of a ring.
        assert len(wide) >= 17 or CL not in case.formats


class Chosen(Exception):
    """Carries the path that was chosen."""


@pytest.mark.parametrize(
    ("form", "dtype", "expected"),
    [
        ("dot", torch.float32, "triton"),
        ("hadamard", torch.bfloat16, "triton"),
        ("dot", torch.float64, "triton"),
        ("dot", torch.float16, "triton"),
        ("hadamard_no_value", torch.float32, "matrix"),
        ("static", torch.float32, "matrix"),
        ("dense", torch.float32, "shifts"),
    ],
)
def test_the_path_chosen_on_cuda(form: str, dtype: torch.dtype, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fast(spec: Any, path: str, *_: Any) -> None:
        raise Chosen(path)

    monkeypatch.setattr(kernels, "_fast", fast)
    monkeypatch.setattr(triton, "INSTALLED", True)
    operator = build_operator("pssa", 4, 8, form=form)
    for runs, path in [(True, expected), (False, expected.replace("triton", "matrix"))]:
        monkeypatch.setattr(triton, "_launches", lambda runs=runs: runs)
        with FakeTensorMode(allow_non_fake_inputs=True):
            x = torch.empty(2, 8, 7, 7, dtype=dtype, device="cuda")
            query, value = x if operator.form.product else None, x if operator.form.value else None
            with pytest.raises(Chosen, match=path):
                kernels.pssa(operator.spec, query, query, value, operator.tap_weight, None)


def test_triton_is_not_chosen_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, "_launches", lambda: pytest.fail("a CPU was asked about Triton"))
    build_operator("pssa", 4, 8)(torch.randn(1, 4, 5, 5))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a launch would succeed")
def test_one_warning_says_why_no_program_starts() -> None:
    triton._launches.cache_clear()
    with pytest.warns(UserWarning, match=r"^PSSA runs without its Triton kernels: \w+: "):
        assert not triton._launches()
    assert not triton._launches()  # and no second warning, which would be an error


@pytest.mark.parametrize(("cuda", "there"), [(False, True), (True, False)])
def test_forcing_triton_where_it_cannot_run_is_refused(
    cuda: bool, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(triton, "INSTALLED", there)
    with pytest.raises(UserError, match=r"^path 'triton' needs the package triton and a CUDA device"):
        kernels.force("triton").__enter__()


def test_a_tensor_on_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = build_operator("pssa", 4, 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(triton, "INSTALLED", True)
    with kernels.force("triton"), pytest.raises(UserError, match="a CUDA device"):
        operator(torch.randn(1, 4, 5, 5))
