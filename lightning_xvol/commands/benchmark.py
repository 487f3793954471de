"""`python -m lightning_xvol benchmark`: what operators, or the ImageNet loader, cost on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_xvol import files, registry
from lightning_xvol.benchmark import shapes
from lightning_xvol.commandline import at_least
from lightning_xvol.errors import UserError

if TYPE_CHECKING:
    from lightning_xvol.benchmark.operators import Effort
    from lightning_xvol.benchmark.report import Environment
    from lightning_xvol.benchmark.subjects import Machine

ALL = "all"
DTYPES = ("float32", "float64", "bfloat16")


def add_to(commands: Any) -> None:
    """The arguments of this command."""
    parser = commands.add_parser(
        "benchmark",
        help="time, memory and MACs of operators, or images per second of the loader (--data)",
        description=(
            "Measure operators side by side at the shapes of a ResNet-50: forward, forward + backward, memory, MACs, "
            "each against a 3x3 convolution and against its literal reference, and time against pixels. With --data: "
            "the ImageNet loader against torchvision's reference pipeline on generated pictures. Writes CSV, Markdown "
            "and a figure with the environment in their names."
        ),
    )
    parser.add_argument(
        "--operator",
        action="append",
        metavar="NAME",
        dest="operators",
        help="a registered operator, package.module:Class, or all; repeatable (default: all)",
    )
    parser.add_argument(
        "--shapes",
        nargs="+",
        metavar="SHAPE",
        help=f"of {', '.join([*shapes.GROUPS, *shapes.SHAPES])} (224: of 224 x 224 pixels, 800: of 800 x 1333), or "
        f"BxCxHxW (default: {' '.join(shapes.DEFAULT)})",
    )
    parser.add_argument("--no-scaling", action="store_true", help="leave out time against pixels")
    parser.add_argument("--data", action="store_true", help="measure the loader instead of operators")
    parser.add_argument(
        "--overhead", action="store_true", help="measure the suite's training step against a bare PyTorch loop instead"
    )
    parser.add_argument(
        "--workers", type=at_least(0, "workers"), default=2, metavar="N", help="--data: loader processes (default: 2)"
    )
    parser.add_argument(
        "--images", type=at_least(1, "images"), metavar="N", help="--data: generated pictures (default: 512)"
    )
    parser.add_argument(
        "--batch-size", type=at_least(1, "batch size"), metavar="N", help="--data: of both loaders (default: 32)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of operators (default: %(default)s)")
    parser.add_argument("--channels-last", action="store_true", help="measure operators in this memory format")
    parser.add_argument(
        "--threads", type=at_least(1, "threads"), default=1, metavar="N", help="of the CPU (default: 1)"
    )
    parser.add_argument(
        "--rounds", type=at_least(1, "rounds"), metavar="N", help="samples of each, in random order (default: 7)"
    )
    parser.add_argument(
        "--seed", type=at_least(0, "seed"), default=0, metavar="N", help="of order, weights and inputs (default: 0)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: benchmarks, with --smoke benchmarks-smoke")
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, to see that it works")
    parser.add_argument("--dry-run", action="store_true", help="say what would be measured, and stop")


def run(parsed: argparse.Namespace) -> int:
    """Measure, print and write."""
    names = _operators(parsed.operators or [ALL])
    chosen = shapes.parse(parsed.shapes or (shapes.SMOKE if parsed.smoke else shapes.DEFAULT))
    out = parsed.out or Path("benchmarks-smoke" if parsed.smoke else "benchmarks")
    if parsed.dry_run:
        print(f"loader, {parsed.workers} workers" if parsed.data else _plan(names, chosen))
        return 0
    import torch

    device = parsed.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; leave it out or say --device cpu")
    from lightning_xvol import environment
    from lightning_xvol.benchmark.operators import Effort
    from lightning_xvol.benchmark.report import Environment
    from lightning_xvol.benchmark.subjects import Machine

    for name in names:
        registry.load("operator", name)  # a wrong import path shows before anything is measured
    files.make_folder(out)
    torch.set_num_threads(parsed.threads)
    effort = Effort(parsed.rounds or (2 if parsed.smoke else 7), 0 if parsed.smoke else 0.02, parsed.seed)
    machine = Machine(torch.device(device), getattr(torch, parsed.dtype), parsed.channels_last)
    where = Environment(
        device=environment.device_name(device),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        dtype=parsed.dtype,
        memory_format="channels_last" if parsed.channels_last else "contiguous",
        rounds=effort.rounds,
        seed=effort.seed,
        smoke=parsed.smoke,
    )
    print(f"{where}; {where.rounds} rounds in random order, seed {where.seed}", flush=True)
    if parsed.data:
        return _loaders(parsed, machine, effort, where, out)
    if parsed.overhead:
        from lightning_xvol.benchmark import overhead

        return overhead.run(names if parsed.operators else None, machine.device, where, out)
    _measure_operators(names, chosen, machine, effort, where, out)
    if not parsed.no_scaling:
        _measure_scaling(names if parsed.operators else None, machine, effort, where, out)
    return 0


def _operators(texts: list[str]) -> list[str]:
    """The names that `--operator` gives, each once and in order.

    Raises:
        UserError: for a name that is neither registered nor an import path.
    """
    names: dict[str, None] = {}
    for text in texts:
        if text != ALL:
            registry.lookup("operator", text)
        names.update(dict.fromkeys(registry.OPERATORS if text == ALL else [text]))
    return list(names)


def _plan(names: list[str], chosen: list[shapes.Shape]) -> str:
    return "\n".join([*(f"shape {shape.name}: {shape}" for shape in chosen), f"operators: {', '.join(names)}"])


def _measure_operators(
    names: list[str], chosen: list[shapes.Shape], machine: Machine, effort: Effort, where: Environment, out: Path
) -> None:
    """A shape after the other; the files hold what is measured so far."""
    from lightning_xvol.benchmark import operators, report

    stem, rows = f"operators-{where.slug}", []
    for shape in chosen:
        print(f"\n{shape.name} ...", flush=True)
        found = operators.measure(names, shape, machine, effort)
        rows += found
        print(report.operator_tables(found).partition("\n\n")[2], flush=True)
        report.write_csv(out / f"{stem}.csv", operators.columns(machine.device.type == "cuda"), rows, where)
        text = report.heading("Operators", where, *report.OPERATOR_NOTES) + report.operator_tables(rows)
        files.write_text(out / f"{stem}.md", text)
    print(f"tables: {out / stem}.csv, .md")


def _measure_scaling(names: list[str] | None, machine: Machine, effort: Effort, where: Environment, out: Path) -> None:
    """The default three, or the operators that were asked for."""
    from lightning_xvol.benchmark import plot, report, scaling

    print("\ntime against pixels ...", flush=True)
    sides = scaling.SMOKE_SIDES if where.smoke else scaling.SIDES
    rows = scaling.measure(names or scaling.OPERATORS, sides, machine, effort)
    table = report.scaling_table(rows)
    print(table, flush=True)
    stem = out / f"scaling-{where.slug}"
    report.write_csv(stem.with_name(f"{stem.name}.csv"), scaling.COLUMNS, rows, where)
    files.write_text(
        stem.with_name(f"{stem.name}.md"),
        report.heading("Time against pixels", where, *report.SCALING_NOTES) + f"{table}\n",
    )
    if not plot.available():
        print(plot.MISSING)
        return
    paths = plot.write_scaling(rows, str(where), where.smoke, stem)
    print(f"tables: {stem}.csv, .md; figure: {', '.join(path.suffix for path in paths)}")


def _loaders(parsed: argparse.Namespace, machine: Machine, effort: Effort, where: Environment, out: Path) -> int:
    from lightning_xvol.benchmark import loaders, report

    images = parsed.images or (16 if parsed.smoke else 512)
    batch = parsed.batch_size or (8 if parsed.smoke else 32)
    rows = loaders.measure(images, parsed.workers, batch, machine.device, effort)
    table = report.loader_table(rows)
    print(table)
    stem = out / f"loaders-{where.slug}"
    report.write_csv(stem.with_name(f"{stem.name}.csv"), loaders.COLUMNS, rows, where)
    text = report.heading("Loaders", where, *report.LOADER_NOTES) + f"{table}\n"
    files.write_text(stem.with_name(f"{stem.name}.md"), text)
    print(f"tables: {stem}.csv, .md")
    return 0
