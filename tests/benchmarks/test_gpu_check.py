"""The script for a GPU: its plan, its compiler without a GPU, and how a visit to a GPU goes."""

from __future__ import annotations

import csv
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu_check import __main__ as command
from benchmarks.gpu_check import compiled, measured
from benchmarks.gpu_check.variants import FORMATS, FORMS, SHIPPED, VARIANTS
from lightning_xvol.errors import ExitCode, UserError
from lightning_xvol.kernels import triton
from lightning_xvol.training import environment

ROOT = Path(__file__).resolve().parents[2]
installed = pytest.mark.skipif(not triton.INSTALLED, reason="Triton is not installed")


def test_the_plan_fits_eight_minutes_names_every_variant_and_needs_no_torch() -> None:
    code = "from benchmarks.gpu_check.__main__ import main, sys; main(['--dry-run']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = done.stdout.splitlines()
    seconds = [int(found[1]) for line in lines if (found := re.match(r"\w+ +(\d+) s  ", line))]
    assert len(seconds) == len(command.PLAN) and sum(seconds) <= 60 * command.MINUTES
    assert all(any(line.startswith(f"  {name}") for line in lines) for name in VARIANTS)
    with pytest.raises(UserError, match=r"unknown step in --only 'swep' \(did you mean 'sweep'\?\)"):
        command.main(["--only", "copy,swep"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no CUDA device here; --dry-run prints the plan"):
        command.main(["--out", str(tmp_path / "files")])
    assert not list(tmp_path.iterdir())


@installed
def test_registers_spills_and_barriers_of_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launches = compiled.launches("split", "dot", "channels_last")
    assert [launch.name for launch in launches] == ["forward", "dq, dw", "dk, dv"]
    found = compiled.counts(launches[0].compile(90))
    assert 16 <= found["registers"] <= 255 and found["spilled_bytes"] == 0 and found["barriers"] == 0
    assert found["wide_loads"] >= 17, "the query, and key and value at eight taps of a ring, are read in 16 bytes"
    assert compiled.COLUMNS[5:-1] == tuple(found)


@installed
def test_equal_programs_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: dict[Any, Any] = {}

    def compile_nothing(wanted: dict[Any, Any], say: Callable[[str], None]) -> dict[Any, compiled.Row]:
        jobs.update(wanted)
        numbers = dict.fromkeys(compiled.COUNTS, 7)
        return {key: {**numbers, "code": str(place)} for place, key in enumerate(wanted)}

    monkeypatch.setattr(compiled, "_compile", compile_nothing)
    rows = compiled.compile_all([80, 90], [SHIPPED, "2048 runs", "16 channels", "split", "converted"])
    # Forward and backward of 2 forms x 2 formats; 16 channels change hadamard in channels_last; 2 sides of each split.
    assert len(jobs) == 2 * (2 * 4 + 2 + 2 * 4)
    assert len(rows) == 2 * 4 * (4 * 2 + 3)
    text = re.sub(" +", " ", compiled.tables(rows))
    assert text.count("| split | = | = | 7 / 7 / 7 + 7 / 7 / 7 | 7 / 7 / 7 + 7 / 7 / 7 |") == 4
    assert re.findall("^As shipped: (.*)$", text, re.MULTILINE) == [
        "`2048 runs`, `16 channels`, `converted`.",  # dot in channels_last, where there is nothing to convert
        "`2048 runs`, `16 channels`.",
        "`2048 runs`, `converted`.",
        "`2048 runs`, `16 channels`.",
    ]


def test_a_program_that_does_not_compile_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stub:
        def compile(self, capability: int) -> None:
            raise RuntimeError("PassManager::run failed\nmore")

    monkeypatch.setattr(compiled, "launches", lambda *_: [Stub()])
    found = compiled._Job(SHIPPED, "dot", "contiguous", 0, 90).run()
    assert found == {"error": "RuntimeError: PassManager::run failed"}
    row = {
        "form": "dot",
        "memory_format": "contiguous",
        "variant": SHIPPED,
        "program": "forward",
        "capability": "sm_90",
    }
    assert "fails |" in compiled.tables([{**row, **found}])


@installed
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_variant_compiles_for_both_capabilities() -> None:
    rows = compiled.compile_all(command.CAPABILITIES)
    assert {row["variant"] for row in rows} == set(VARIANTS)
    assert {row["capability"] for row in rows} == {"sm_80", "sm_90"}
    assert not [row for row in rows if "error" in row or not 16 <= row["registers"] <= 255]


def test_the_document_lists_every_variant() -> None:
    text = (ROOT / "docs" / "gpu_kernels.md").read_text()
    parts = re.findall(r"^`(\w+)`, (\w+):\n\n((?:\|.*\n)+)\nAs shipped: ([^.]*)\.\n", text, re.MULTILINE)
    assert [(form, memory_format) for form, memory_format, *_ in parts] == list(itertools.product(FORMS, FORMATS))
    for _, _, table, same in parts:
        header, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
        assert header[1:] == ["forward, sm_80", "forward, sm_90", "backward, sm_80", "backward, sm_90"]
        assert sorted([*(line[0] for line in lines), *re.findall("`([^`]*)`", same)]) == sorted(VARIANTS)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(environment, "device_name", lambda kind: "NVIDIA Test (80 GB)")


def rows_of(folder: Path, step: str) -> list[dict[str, str]]:
    (path,) = folder.glob(f"gpu-check-{step}-nvidia-test-80-gb-torch-*.csv")
    return list(csv.DictReader(path.open(newline="")))


@pytest.mark.usefixtures("gpu")
def test_a_failing_step_keeps_its_rows_and_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sweep(bench: measured.Bench) -> Iterator[measured.Row]:
        yield {"variant": "a", "ms": 0.123456}
        yield {"variant": "b", "failure": "RuntimeError: no"}
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(measured, "MEASURES", {"copy": lambda _: iter([{"copy": 1.0}]), "sweep": sweep, "paths": sweep})
    code = command.main(["--only", "copy,sweep,paths", "--out", str(tmp_path)])
    assert code == ExitCode.FAILURE
    assert rows_of(tmp_path, "copy") == [{"copy": "1"}]
    for step in ("sweep", "paths"):
        assert rows_of(tmp_path, step) == [
            {"variant": "a", "ms": "0.1235", "failure": ""}, {"variant": "b", "ms": "", "failure": "RuntimeError: no"}
        ]  # fmt: skip


@pytest.mark.usefixtures("gpu")
def test_nothing_starts_after_the_given_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(bench: measured.Bench) -> Iterator[measured.Row]:
        for place in range(1000):
            time.sleep(0.02)
            yield {"place": place}

    monkeypatch.setattr(measured, "MEASURES", {"copy": slow, "sweep": slow})
    plan = [step for step in command.PLAN if step.name in ("copy", "sweep")]
    assert command.visit(plan, 0.001, tmp_path) == ExitCode.SUCCESS
    assert 1 <= len(rows_of(tmp_path, "copy")) < 20 and not list(tmp_path.glob("*sweep*"))
    assert "sweep: left out" in capsys.readouterr().out


@pytest.mark.usefixtures("gpu")
def test_failing_tests_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "show_program", lambda words: 1)
    assert command.main(["--only", "tests", "--out", str(tmp_path)]) == ExitCode.FAILURE
    assert rows_of(tmp_path, "tests") == [{"exit_code": "1"}]


def test_the_tests_of_a_visit_are_a_part_of_those_for_a_gpu() -> None:
    words = [*command.tests_command(), "--collect-only"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert "test_equal_to_the_eager_path" in done.stdout and "test_compiles" not in done.stdout, done.stdout
