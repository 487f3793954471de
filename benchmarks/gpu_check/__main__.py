# PYTHON_ARGCOMPLETE_OK
"""`python -m benchmarks.gpu_check`: check and measure PSSA's kernels on a GPU, in about 8 minutes of one card.

`--dry-run` prints the plan. `--compile` needs no GPU: it compiles every variant for compute capabilities 8.0 and 9.0
and lists registers, spills and barriers, in minutes of CPU time. The results are CSV files whose names hold the device.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu_check.variants import FORMATS, FORMS, SHAPE, VARIANTS
from lightning_xvol.commandline import Parser, columns
from lightning_xvol.errors import ExitCode, UserError, choose, first_line, run_command_line
from lightning_xvol.ledger import files
from lightning_xvol.surroundings.programs import show_program

CAPABILITIES = (80, 90)
MINUTES = 8


class Step(NamedTuple):
    """A part of the visit.

    Attributes:
        name: for `--only`, and in the name of its file.
        seconds: an estimate of its time on a card of the year 2022 with 16 CPU cores.
        what: what it does.
    """

    name: str
    seconds: int
    what: str


PLAN = (
    Step("tests", 90, "a subset of make test-gpu, which stops at the first failure"),
    Step(
        "compile", 75,
        f"{len(VARIANTS)} variants, {len(FORMS)} forms, {len(FORMATS)} memory formats, forward and backward, each "
        "program once, in parallel",
    ),
    Step("copy", 5, f"bandwidth of a copy of {list(SHAPE)} in bfloat16"),
    Step("sweep", 90, f"every variant at {list(SHAPE)} in bfloat16: error, forward and backward, 20 launches each"),
    Step("paths", 45, "the fastest variant against the eager kernels and the literal reference"),
    Step(
        "network", 150,
        "ResNet-50 training step, plain and with X-volution in conv5_x, batch 128, bfloat16, channels_last, eager and "
        "torch.compile",
    ),
)  # fmt: skip


def make_parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.gpu_check", description="Check and measure PSSA's kernels on a GPU.")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--compile", action="store_true", help="compile every variant without a GPU, and stop")
    parser.add_argument("--only", metavar="A,B", help=f"run only these steps: {', '.join(step.name for step in PLAN)}")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, metavar="N",
        help=f"start nothing new after N minutes (default: {MINUTES})",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks"), metavar="DIR",
        help="folder for the CSV files (default: runs/benchmarks)",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = make_parser().parse_args(arguments)
    steps = {step.name: step for step in PLAN}
    wanted = list(steps) if parsed.only is None else parsed.only.split(",")
    for name in wanted:
        choose(steps, name, "step in --only")
    plan = [step for step in PLAN if step.name in wanted]
    if parsed.dry_run:
        print(describe(plan))
    elif parsed.compile:
        compile_without_gpu(files.make_folder(parsed.out))
    else:
        return visit(plan, parsed.minutes, parsed.out)
    return ExitCode.SUCCESS


def describe(plan: Sequence[Step]) -> str:
    """The steps with their estimates, and the variants."""
    lines = columns([(step.name, f"{step.seconds} s", step.what) for step in plan], right=[1])
    total = sum(step.seconds for step in plan) / 60
    lines.append(f"about {total:.1f} min of one card with 16 CPU cores (an estimate; nothing here has run on a GPU)")
    lines.append(f"{len(VARIANTS)} variants:")
    fields = (", ".join(f"{key}={value}" for key, value in variant.items()) for variant in VARIANTS.values())
    lines += columns([(f"  {name}", text) for name, text in zip(VARIANTS, fields, strict=True)])
    return "\n".join(lines)


def compile_without_gpu(out: Path) -> None:
    """Compile every variant for `CAPABILITIES`, and write and print registers, spills and barriers.

    Raises:
        UserError: where Triton is missing.
    """
    from lightning_xvol.kernels.triton import INSTALLED

    if not INSTALLED:
        raise UserError("--compile needs the package triton, which comes with torch for Linux")
    import triton

    from benchmarks.gpu_check import compiled

    start = time.perf_counter()
    rows = compiled.compile_all(CAPABILITIES, say=_say)
    stem = f"gpu-check-compiled-triton-{triton.__version__}"
    files.write_text(out / f"{stem}.csv", csv_text(rows))
    files.write_text(out / f"{stem}.md", compiled.tables(rows))
    print(compiled.tables(rows))
    print(f"tables: {out / stem}.csv, .md ({time.perf_counter() - start:.0f} s)")


def visit(plan: Sequence[Step], minutes: float, out: Path) -> ExitCode:
    """Run the steps of `plan` on the GPU, and start nothing new after `minutes`.

    A step that fails does not stop the others. Its file holds the rows that were ready. The result is `FAILURE` if a
    step or a test failed.

    Raises:
        UserError: without a GPU.
    """
    import torch

    from lightning_xvol.training.environment import device_name

    if not torch.cuda.is_available():
        raise UserError("torch sees no CUDA device here; --dry-run prints the plan, and --compile needs no GPU")
    files.make_folder(out)
    from benchmarks.gpu_check.measured import Bench

    where = re.sub(r"[^a-z0-9.+]+", "-", f"{device_name('cuda')}-torch-{torch.__version__}".lower())
    bench, end, code = Bench(), time.perf_counter() + 60 * minutes, ExitCode.SUCCESS
    for step in plan:
        start = time.perf_counter()
        if start > end:
            _say(f"{step.name}: left out, because {minutes:g} min are over")
            continue
        try:
            _write_rows(out / f"gpu-check-{step.name}-{where}.csv", _rows(step.name, bench), end)
        except Exception as error:
            code = ExitCode.FAILURE
            _say(f"{step.name}: failed: {type(error).__name__}: {first_line(error)}")
        _say(f"{step.name}: {time.perf_counter() - start:.0f} s")
    return code


def _rows(step: str, bench: Any) -> Iterator[dict[str, Any]]:
    if step == "tests":
        code = show_program(tests_command())
        yield {"exit_code": code}
        if code:
            raise RuntimeError(f"pytest ended with code {code}")
    elif step == "compile":
        import torch

        from benchmarks.gpu_check.compiled import compile_all

        major, minor = torch.cuda.get_device_capability()
        yield from compile_all([10 * major + minor], say=_say)
    else:
        from benchmarks.gpu_check.measured import MEASURES

        yield from MEASURES[step](bench)


def tests_command() -> list[str]:
    """The command of the tests. It uses several processes, because most of its time goes into compiling programs."""
    processes = min(8, os.cpu_count() or 1)
    return [
        sys.executable, "-m", "pytest", "-q", "-x", "-n", str(processes), "tests/gpu",
        "-m", "gpu and not slow", "-k", "not compiles", "--timeout", "120",
    ]  # fmt: skip


def _write_rows(path: Path, rows: Iterable[dict[str, Any]], end: float) -> None:
    """Write the file anew with each row, and take no further row after the time `end`."""
    ready: list[dict[str, Any]] = []
    for row in rows:
        ready.append(row)
        files.write_text(path, csv_text(ready))
        if "code" not in row:
            _say("  ".join(f"{key} {_short(value)}" for key, value in row.items()))
        if time.perf_counter() > end:
            _say(f"the time is over, so {path.name} may lack rows")
            break


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """`rows` as CSV, empty where a row lacks a column."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _short(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    run_command_line(main)
