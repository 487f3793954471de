# PYTHON_ARGCOMPLETE_OK
"""`python -m benchmarks.gpu_check`: everything that a GPU has to tell about PSSA's Triton kernels, in one short visit.

It fits about 8 minutes of one card. `--dry-run` prints the plan. `--compile` needs no GPU: it compiles every variant
for compute capabilities 8.0 and 9.0 and lists registers and spills, in minutes of CPU time. The results are CSV files
whose names hold the device.

A variant changes how maps are cut into tiles. It changes the order in which the gradients of the weights are added, and
nothing else. No run uses a variant: what wins becomes a constant in `lightning_xvol/kernels/triton.py`.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lightning_xvol.commandline import Parser, columns
from lightning_xvol.errors import ExitCode, UserError, run_command_line
from lightning_xvol.surroundings.programs import output_of, show_program

CAPABILITIES = (80, 90)
FORMATS = ("channels_last", "contiguous")
SHAPE = (64, 256, 56, 56)
LAUNCHES = 20
HEADS = 4


@dataclass(frozen=True)
class Variant:
    """A way to cut maps into tiles.

    Attributes:
        name: its name in tables.
        constants: of `lightning_xvol.kernels.triton`, which it replaces.
        converts: whether contiguous maps are converted to channels_last first.
    """

    name: str
    constants: Mapping[str, int] = field(default_factory=dict)
    converts: bool = False

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Use the constants within this block."""
        from lightning_xvol.kernels import triton

        before = {name: getattr(triton, name) for name in self.constants}
        vars(triton).update(self.constants)
        try:
            yield
        finally:
            vars(triton).update(before)


VARIANTS = (
    Variant("as shipped"),
    Variant("8 warps", {"WARPS": 8}),
    Variant("2 warps", {"WARPS": 2}),
    Variant("32 bytes a thread", {"THREAD_BYTES": 32}),
    Variant("8 warps, 32 bytes", {"WARPS": 8, "THREAD_BYTES": 32}),
    Variant("64 channels", {"CHANNELS": 64}),
    Variant("16 channels", {"CHANNELS": 16}),
    Variant("8 entries a thread", {"THREAD_ENTRIES": 8}),
    Variant("2 entries a thread", {"THREAD_ENTRIES": 2}),
    Variant("4 warps for heads", {"WARPS_OF_HEADS": 4}),
    Variant("2048 runs", {"RUNS": 2048}),
    Variant("converted to channels_last", converts=True),
)

PLAN = (
    ("tests", 90, "a subset of make test-gpu: pytest tests/gpu -m gpu -x"),
    ("compile", 60, f"{len(VARIANTS)} variants x 2 forms x 2 memory formats, forward and backward, in parallel"),
    ("copy", 5, f"bandwidth of a copy of {SHAPE} in bfloat16"),
    ("sweep", 120, f"every variant, forward and backward, {LAUNCHES} launches each, at {SHAPE} in bfloat16"),
    ("paths", 45, "the fastest variant against shifts and the literal reference"),
    ("network", 150, "ResNet-50 training step, plain and X-volution in conv5_x, batch 128, bfloat16, channels_last, "
     "eager and torch.compile"),
)  # fmt: skip


def make_parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.gpu_check", description="Check and measure PSSA's kernels on a GPU.")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--compile", action="store_true", help="compile every variant without a GPU, and stop")
    parser.add_argument("--only", metavar="A,B", help=f"run only these steps: {', '.join(name for name, *_ in PLAN)}")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks-out"), metavar="DIR", help="folder of the CSV files"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = make_parser().parse_args(arguments)
    wanted = [name for name, *_ in PLAN] if parsed.only is None else parsed.only.split(",")
    unknown = [name for name in wanted if name not in {step for step, *_ in PLAN}]
    if unknown:
        raise UserError(f"--only {unknown[0]}: no such step; steps: {', '.join(name for name, *_ in PLAN)}")
    steps = [step for step in PLAN if step[0] in wanted]
    if parsed.dry_run:
        print("\n".join(columns([(name, f"{seconds} s", what) for name, seconds, what in steps], right=[1])))
        print(f"about {sum(seconds for _, seconds, _ in steps) / 60:.1f} min of one card; variants:")
        print("\n".join(f"  {variant.name}" for variant in VARIANTS))
        return ExitCode.SUCCESS
    parsed.out.mkdir(parents=True, exist_ok=True)
    if parsed.compile:
        rows = compile_all()
        print("\n".join(columns([COMPILED, *([str(row[key]) for key in COMPILED] for row in rows)])))
        return write(parsed.out, "compiled", "sm-80-and-90", rows)
    return _on_a_gpu([name for name, *_ in steps], parsed.out)


def write(out: Path, name: str, environment: str, rows: Sequence[Mapping[str, Any]]) -> int:
    path = out / f"gpu-check-{name}-{environment}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"table: {path}", flush=True)
    return ExitCode.SUCCESS


def tensors(form: str, memory_format: str, shape: Sequence[int], device: str, dtype: str = "bfloat16") -> list[Any]:
    """Query, key, value and weights of `form`, the maps in `memory_format`."""
    import torch

    layout = torch.channels_last if memory_format == "channels_last" else torch.contiguous_format
    generator = torch.Generator(device).manual_seed(0)
    maps = [
        torch.randn(*shape, generator=generator, device=device, dtype=getattr(torch, dtype)).contiguous(
            memory_format=layout
        )
        for _ in range(3)
    ]
    rows = min(HEADS, shape[1]) if form == "dot" else shape[1]
    return [*maps, torch.randn(rows, 24, generator=generator, device=device, dtype=torch.float32)]


def attend(
    variant: Variant, query: Any, key: Any, value: Any, weight: Any, distances: Sequence[int] = (1, 3, 5)
) -> Any:
    """PSSA's arithmetic by `variant`, in the memory format of the query."""
    import torch

    from lightning_xvol.kernels import triton

    maps = [query, key, value]
    if variant.converts:
        maps = [x.contiguous(memory_format=torch.channels_last) for x in maps]
    y = triton.attend(*maps, weight, None, list(distances), 1)
    layout = torch.channels_last if query.stride(1) < query.stride(3) else torch.contiguous_format
    return y.contiguous(memory_format=layout)


COMPILED = ("capability", "variant", "form", "memory_format", "program", "registers", "spilled_bytes", "shared_bytes")


def compile_all(
    capabilities: Sequence[int] = CAPABILITIES, variants: Sequence[Variant] = VARIANTS
) -> list[dict[str, Any]]:
    """Registers and spills of both programs for every variant, compiled in processes of their own."""
    jobs = [
        (capability, variant, form, memory_format)
        for capability in capabilities for variant in variants if not variant.converts
        for form in ("dot", "hadamard") for memory_format in FORMATS
    ]  # fmt: skip
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return [row for rows in pool.map(_compile, jobs) for row in rows]


class NoDriver:
    """Tells Triton's compiler about a GPU that need not be there."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:
        return 0


class Compiler:
    """Stands for a program: compiles it for the arguments of a launch, and launches nothing."""

    def __init__(self, program: Any, compiled: list[Any]) -> None:
        self.program, self.compiled = program, compiled
        program.device_caches.clear()

    def __getitem__(self, grid: tuple[int, int]) -> Callable[..., None]:
        return lambda *args, **kwargs: self.compiled.append(self.program.warmup(*args, grid=grid, **kwargs))


def _compile(job: tuple[int, Variant, str, str]) -> list[dict[str, Any]]:
    capability, variant, form, memory_format = job
    from triton.runtime import driver

    from lightning_xvol.kernels import triton, triton_programs

    names, found = ("forward", "backward"), []
    originals = [getattr(triton_programs, name) for name in names]
    compiled: list[Any] = []
    query, key, value, weight = tensors(form, memory_format, (2, SHAPE[1], 8, 8), "cpu")
    before = driver._active
    try:
        driver._active = NoDriver(capability)
        for name, program in zip(names, originals, strict=True):
            setattr(triton_programs, name, Compiler(program, compiled))
        with variant.in_force():
            triton.attend(query, key, value, weight, None, [1, 3, 5], 1)
            triton.attend_backward(query, query, key, value, weight, None, [1, 3, 5], 1)
    finally:
        driver._active = before
        for name, program in zip(names, originals, strict=True):
            setattr(triton_programs, name, program)
    for name, program in zip(names, compiled, strict=True):
        first = dict(zip(COMPILED, (f"sm_{capability}", variant.name, form, memory_format, name), strict=False))
        found.append({**first, **_resources(program.asm["cubin"])})
    return found


def _resources(cubin: bytes) -> dict[str, int]:
    """Registers of a thread, spilled bytes and shared memory, as `cuobjdump` of Triton's package says."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = output_of([str(tool), "--dump-resource-usage", file.name])
    if text is None:
        raise UserError(f"{str(tool)!r} does not read what Triton has compiled; reinstall triton")
    numbers = {name: int(value) for name, value in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", text)}
    spilled = numbers["STACK"] + numbers["LOCAL"]
    return {"registers": numbers["REG"], "spilled_bytes": spilled, "shared_bytes": numbers["SHARED"]}


def _on_a_gpu(steps: Sequence[str], out: Path) -> int:
    import torch

    if not torch.cuda.is_available():
        raise UserError("torch sees no CUDA device here; --dry-run prints the plan, and --compile needs no GPU")
    from lightning_xvol.training.environment import device_name

    where = re.sub(r"[^a-z0-9.+]+", "-", f"{device_name('cuda')}-torch-{torch.__version__}".lower())
    fastest: dict[tuple[str, str], Variant] = {}
    for step in steps:
        start = time.perf_counter()
        if step == "tests":
            command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/gpu", "-m", "gpu and not slow"]
            print("the tests failed" if show_program(command) else "the tests passed")
        elif step == "compile":
            capability = 10 * torch.cuda.get_device_capability()[0]
            write(out, step, where, compile_all([capability]))
        else:
            rows = _MEASURES[step](fastest)
            for row in rows:
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            write(out, step, where, rows)
        print(f"{step}: {time.perf_counter() - start:.0f} s", flush=True)
    return ExitCode.SUCCESS


def _seconds(call: Callable[[], object]) -> float:
    import torch

    from benchmarks.measure import seconds_per_call

    call()
    return seconds_per_call(call, LAUNCHES, torch.device("cuda"))


def _size() -> int:
    return 2 * functools.reduce(lambda product, side: product * side, SHAPE)


@functools.cache
def _copy_seconds() -> float:
    import torch

    source = torch.empty(SHAPE, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return _seconds(lambda: target.copy_(source))


def _copy(_fastest: Any) -> list[dict[str, Any]]:
    return [{"copy_gb_per_second": round(2 * _size() / _copy_seconds() / 1e9, 1)}]


def _passes(call: Callable[..., Any], leaves: list[Any]) -> dict[str, float]:
    """Seconds of forward and of backward."""
    import torch

    with torch.no_grad():
        forward = _seconds(lambda: call(*leaves))
    leaves = [x.detach().requires_grad_() for x in leaves]
    y = call(*leaves)
    gradient = torch.ones_like(y)
    return {
        "forward": forward,
        "backward": _seconds(lambda: torch.autograd.grad(y, leaves, gradient, retain_graph=True)),
    }


def _sweep(fastest: dict[tuple[str, str], Variant]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for form in ("dot", "hadamard"):
        for memory_format in FORMATS:
            leaves = tensors(form, memory_format, SHAPE, "cuda")
            totals: dict[str, float] = {}
            for variant in VARIANTS:
                with variant.in_force():
                    found = _passes(functools.partial(attend, variant), leaves)
                totals[variant.name] = sum(found.values())
                for name, maps in (("forward", 4), ("backward", 7)):
                    share = maps / 2 * _copy_seconds() / found[name]
                    rows.append({"form": form, "memory_format": memory_format, "variant": variant.name, "pass": name,
                                 "ms": round(1e3 * found[name], 3), "of_copy": round(share, 3)})  # fmt: skip
            fastest[form, memory_format] = min(VARIANTS, key=lambda variant: totals[variant.name])
    return rows


def _paths(fastest: dict[tuple[str, str], Variant]) -> list[dict[str, Any]]:
    import torch

    from lightning_xvol import kernels
    from lightning_xvol.kernels.spec import Spec

    rows = []
    for form in ("dot", "hadamard"):
        for memory_format in FORMATS:
            variant = fastest.get((form, memory_format), VARIANTS[0])
            leaves = tensors(form, memory_format, SHAPE, "cuda")
            spec = Spec(form, (1, 3, 5), num_heads=HEADS)
            calls = {variant.name: functools.partial(attend, variant)}
            for path in ("shifts", "reference"):
                calls[path] = functools.partial(_forced, kernels, path, spec)
            for name, call in calls.items():
                with contextlib.suppress(torch.OutOfMemoryError), variant.in_force():
                    found = {key: round(1e3 * value, 3) for key, value in _passes(call, leaves).items()}
                    rows.append({"form": form, "memory_format": memory_format, "path": name, **found})
    return rows


def _forced(kernels: Any, path: str, spec: Any, query: Any, key: Any, value: Any, weight: Any) -> Any:
    with kernels.force(path):
        return kernels.pssa(spec, query, key, value, weight, None)


def _network(_fastest: Any) -> list[dict[str, Any]]:
    import torch
    import torch.nn.functional as F

    from lightning_xvol.backbones import build_backbone
    from lightning_xvol.config.schema import BackboneConfig, OperatorConfig

    images = torch.randn(128, 3, 224, 224, device="cuda").contiguous(memory_format=torch.channels_last)
    labels = torch.arange(128, device="cuda")
    rows = []
    for name in ("convolution", "xvolution"):
        for compiled in (False, True):
            network = build_backbone(BackboneConfig("resnet50", stages=(5,)), OperatorConfig(name), 1000)
            network = network.cuda().to(memory_format=torch.channels_last).train()
            optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
            if compiled:
                network.compile()

            def step(network: Any = network, optimizer: Any = optimizer) -> None:
                optimizer.zero_grad()
                with torch.autocast("cuda", dtype=torch.bfloat16):
                    loss = F.cross_entropy(network(images), labels)
                loss.backward()
                optimizer.step()

            rows.append({"network": name, "compiled": compiled, "step_ms": round(1e3 * _seconds(step), 2)})
    return rows


_MEASURES: Mapping[str, Callable[[dict[tuple[str, str], Variant]], list[dict[str, Any]]]] = {
    "copy": _copy, "sweep": _sweep, "paths": _paths, "network": _network,
}  # fmt: skip

if __name__ == "__main__":
    run_command_line(main)
