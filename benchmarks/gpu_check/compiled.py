"""Compiles every variant without a GPU, and counts registers, spills, shared memory, barriers and shuffles."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.variants import DISTANCES, FORMATS, FORMS, SHAPE, SHIPPED, VARIANTS, empty, use
from lightning_xvol.commandline import markdown_table
from lightning_xvol.errors import UserError, first_line
from lightning_xvol.processes import end_with_parent
from lightning_xvol.surroundings.programs import output_of

Row = dict[str, Any]
COUNTS = ("registers", "spilled_bytes", "shared_bytes", "barriers", "shuffles", "wide_loads")
COLUMNS = ("form", "memory_format", "variant", "program", "capability", *COUNTS, "code", "error")
MOST_PROCESSES = 16  # each holds a torch in memory
LINE = 120


@dataclass(frozen=True)
class Launch:
    """One launch of a program. It was recorded and did not happen.

    Attributes:
        name: the pass of the program: `forward`, `backward`, or one of two halves of backward, `dq, dw` or `dk, dv`.
        program: the Triton program.
        arguments: its arguments at run time.
        constants: its compile-time arguments.
    """

    name: str
    program: Any
    arguments: tuple[Any, ...]
    constants: dict[str, Any]

    def compile(self, capability: int) -> Any:
        """The program, compiled for a GPU of this compute capability (90 for 9.0)."""
        from triton.runtime import driver

        before = driver._active
        try:
            driver._active = NoDriver(capability)
            self.program.device_caches.clear()  # it knows a device by its number alone
            return self.program.warmup(*self.arguments, grid=(1, 1), **self.constants)
        finally:
            driver._active = before


class NoDriver:
    """Tells Triton's compiler about a GPU that the machine need not have."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0


@contextmanager
def recording() -> Iterator[list[Launch]]:
    """Record the launches within the block in a list. None of them happens."""
    from lightning_xvol.kernels import triton_programs

    launches: list[Launch] = []
    originals = {name: getattr(triton_programs, name) for name in ("forward", "backward")}
    try:
        for name, program in originals.items():
            setattr(triton_programs, name, _Recorder(name, program, launches))
        yield launches
    finally:
        vars(triton_programs).update(originals)


@dataclass(frozen=True)
class _Recorder:
    """Takes the place of a program and records its launches."""

    name: str
    program: Any
    launches: list[Launch]

    def __getitem__(self, grid: tuple[int, int]) -> Callable[..., None]:
        def launch(*arguments: Any, **constants: Any) -> None:
            sides = (constants.get("QUERIES", True), constants.get("KEYS", True))
            name = {(True, False): "dq, dw", (False, True): "dk, dv"}.get(sides, self.name)
            self.launches.append(Launch(name, self.program, arguments, constants))

        return launch


def launches(variant: str, form: str, memory_format: str) -> list[Launch]:
    """The launches of one forward and one backward pass of `variant`, at `SHAPE` in bfloat16."""
    from lightning_xvol.kernels import triton

    if VARIANTS[variant].get("converts"):
        memory_format = "channels_last"  # what the programs read. Converting here would touch the memory.
    query, *tensors = empty(form, memory_format, SHAPE, "cpu")
    with recording() as found, use(variant):
        triton.attend(query, *tensors, None, list(DISTANCES), 1)
        triton.attend_backward(query, query, *tensors, None, list(DISTANCES), 1)
    return found


@dataclass(frozen=True)
class _Job:
    """A program that is to be compiled: the launch number `place` of a variant."""

    variant: str
    form: str
    memory_format: str
    place: int
    capability: int

    def run(self) -> Row:
        """The columns of `COLUMNS` from `COUNTS` on, or an error for a program that does not compile."""
        launch = launches(self.variant, self.form, self.memory_format)[self.place]
        try:
            compiled = launch.compile(self.capability)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {first_line(error)}"}
        return counts(compiled)


def compile_all(
    capabilities: Sequence[int], variants: Sequence[str] = tuple(VARIANTS), say: Callable[[str], None] = print
) -> list[Row]:
    """A row of `COLUMNS` for each program of each variant. Equal programs are compiled once, in parallel processes.

    Args:
        capabilities: Compute capabilities, 90 for 9.0.
        variants: Names of `VARIANTS`.
        say: Gets a line for each program that is ready.
    """
    jobs: dict[Any, _Job] = {}  # by what distinguishes a program
    rows: list[Row] = []
    keys = []
    for form in FORMS:
        for memory_format in FORMATS:
            for variant in variants:
                for place, launch in enumerate(launches(variant, form, memory_format)):
                    strides = launch.arguments[1].stride()  # converted maps are in channels_last
                    for capability in capabilities:
                        key = (launch.name, form, strides, capability, *sorted(launch.constants.items(), key=str))
                        jobs.setdefault(key, _Job(variant, form, memory_format, place, capability))
                        keys.append(key)
                        rows.append({"form": form, "memory_format": memory_format, "variant": variant,
                                     "program": launch.name, "capability": f"sm_{capability}"})  # fmt: skip
    found = _compile(jobs, say)
    return [{**row, **found[key]} for row, key in zip(rows, keys, strict=True)]


def _compile(jobs: dict[Any, _Job], say: Callable[[str], None]) -> dict[Any, Row]:
    """The row of each job, by its key."""
    found: dict[Any, Row] = {}
    processes = max(1, min(MOST_PROCESSES, os.cpu_count() or 1, len(jobs)))
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=end_with_parent) as pool:
        futures = {pool.submit(job.run): key for key, job in jobs.items()}
        for future in as_completed(futures):
            key = futures[future]
            job, found[key] = jobs[key], future.result()
            result = found[key].get("error") or f"{found[key]['registers']} registers"
            program = f"sm_{job.capability}, {job.form}, {job.memory_format}, {job.variant}, {key[0]}"
            say(f"{len(found):{len(str(len(jobs)))}d} of {len(jobs)}: {program}: {result}")
    return found


def counts(compiled: Any) -> Row:
    """The values of `COUNTS` for a compiled program, and a short hash of its machine code.

    `cuobjdump`, which is a part of Triton's package, tells the registers of a thread, its bytes in local memory, and
    the bytes of shared memory. Barriers, shuffles and loads of 16 bytes are counted as instructions in the code. So a
    loop counts once.

    Raises:
        UserError: if `cuobjdump` cannot read the program.
    """
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        text = output_of([str(tool), "--dump-resource-usage", file.name])
    if text is None:
        raise UserError(f"{str(tool)!r} cannot read the program that Triton compiled; reinstall triton")
    numbers = {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", text)}
    code = compiled.asm["ptx"]
    found = {name: len(re.findall(pattern, code)) for name, pattern in _INSTRUCTIONS.items()}
    return {
        "registers": numbers["REG"],
        "spilled_bytes": numbers["STACK"] + numbers["LOCAL"],
        "shared_bytes": compiled.metadata.shared,
        **found,
        "code": hashlib.sha256(compiled.asm["cubin"]).hexdigest()[:12],
    }


_INSTRUCTIONS = {
    "barriers": r"\bbar(?:rier)?(?:\.cta)?\.sync\b",
    "shuffles": r"\bshfl\.sync\b",
    "wide_loads": r"\bld\.global\S*\.v4\.b32\b",
}


def tables(rows: Sequence[Row]) -> str:
    """`rows` as a Markdown table for each form and memory format: registers / spilled bytes / barriers.

    An entry holds the programs of one pass. `=` says that their code is that of the shipped variant. A line below each
    table lists the variants whose entries would all be `=`.
    """
    capabilities = list(dict.fromkeys(row["capability"] for row in rows))
    passes = [(forward, capability) for forward in (True, False) for capability in capabilities]
    header = ["variant", *(f"{'forward' if forward else 'backward'}, {capability}" for forward, capability in passes)]
    texts = []
    for form in FORMS:
        for memory_format in FORMATS:
            here = [row for row in rows if (row["form"], row["memory_format"]) == (form, memory_format)]
            lines, same = [], []
            for variant in dict.fromkeys(row["variant"] for row in here):
                cells = [_cell(here, variant, forward, capability) for forward, capability in passes]
                if set(cells) == {"="}:
                    same.append(f"`{variant}`".replace(" ", "\0"))  # no line ends within a name
                else:
                    lines.append([variant, *cells])
            table = markdown_table(header, lines, (":--", *["--:"] * len(passes)))
            texts.append(f"`{form}`, {memory_format}:\n\n{table}\n")
            if same:
                text = textwrap.fill(f"As shipped: {', '.join(same)}.", LINE)
                texts.append(text.replace("\0", " ") + "\n")
    return "\n".join(texts)


def _cell(rows: Sequence[Row], variant: str, forward: bool, capability: str) -> str:
    """The programs of one pass of `variant`, or `=`."""
    of_variant, shipped = (
        [
            row for row in rows
            if (row["variant"], row["capability"]) == (name, capability) and (row["program"] == "forward") == forward
        ]
        for name in (variant, SHIPPED)
    )  # fmt: skip
    if variant != SHIPPED and [row.get("code") for row in of_variant] == [row.get("code") for row in shipped]:
        return "="
    return " + ".join(_numbers(row) for row in of_variant)


def _numbers(row: Row) -> str:
    numbers = (str(row[name]) for name in ("registers", "spilled_bytes", "barriers"))
    return " / ".join(numbers) if row.get("code") else "fails"
