"""`python -m lightning_xvol benchmark`: what operators, a network, PSSA's kernels or the loader cost here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import shapes
from lightning_xvol.commandline import at_least
from lightning_xvol.config import registry
from lightning_xvol.errors import UserError
from lightning_xvol.ledger import files

if TYPE_CHECKING:
    from benchmarks.operators import Effort, Row
    from benchmarks.report import Environment
    from benchmarks.subjects import Machine

ALL = "all"
DTYPES = ("float32", "float64", "bfloat16")


def add_to(commands: Any) -> None:
    """The arguments of this command."""
    parser = commands.add_parser(
        "benchmark",
        help="time, memory and MACs of operators, or images per second of the loader (--data)",
        description=(
            "Measure operators side by side at the shapes of a ResNet-50: forward, forward + backward, memory, MACs, "
            "each against a 3x3 convolution and against its literal reference, and time against pixels. Instead: the "
            "same for PSSA's arithmetic alone (--core), ResNet-50 end to end (--network), the ImageNet loader against "
            "torchvision's reference pipeline on generated pictures (--data), or PSSA's Triton kernels against a copy, "
            "the eager kernels and the literal reference (--bandwidth). Writes CSV, Markdown and a figure with the "
            "environment in their names."
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
        f"BxCxHxW (default: {' '.join(shapes.DEFAULT)}; with --bandwidth {' '.join(shapes.BANDWIDTH)})",
    )
    parser.add_argument("--no-scaling", action="store_true", help="leave out time against pixels")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--core",
        action="store_true",
        help="measure PSSA's arithmetic alone instead, in two forms, with the whole operators beside it",
    )
    instead.add_argument(
        "--network", action="store_true", help="measure ResNet-50 with X-volution in conv5_x against the plain one"
    )
    instead.add_argument("--data", action="store_true", help="measure the loader instead of operators")
    instead.add_argument("--bandwidth", action="store_true", help="measure PSSA's Triton kernels on a GPU instead")
    instead.add_argument(
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
        "--rounds",
        type=at_least(1, "rounds"),
        metavar="N",
        help="samples of each (default: 7, --network 9)",
    )
    parser.add_argument(
        "--seed", type=at_least(0, "seed"), default=0, metavar="N", help="of order, weights and inputs (default: 0)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: benchmarks, with --smoke benchmarks-smoke")
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, to see that it works")
    parser.add_argument("--dry-run", action="store_true", help="say what would be measured, and stop")


def run(parsed: argparse.Namespace) -> int:
    """Measure, print and write."""
    instead = "--core" if parsed.core else "--network" if parsed.network else None
    if instead and parsed.operators:
        raise UserError(f"--operator does nothing with {instead}, which measures X-volution and PSSA; leave it out")
    if parsed.network and parsed.shapes:
        raise UserError("--shapes does nothing with --network, which takes images of 224 x 224; leave it out")
    names = _operators(parsed.operators or [ALL])
    default = shapes.SMOKE if parsed.smoke else shapes.BANDWIDTH if parsed.bandwidth else shapes.DEFAULT
    chosen = shapes.parse(parsed.shapes or default)
    out = parsed.out or Path("benchmarks-smoke" if parsed.smoke else "benchmarks")
    if parsed.dry_run:
        print(_plan(parsed, names, chosen))
        return 0
    import torch

    device = parsed.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; leave it out or say --device cpu")
    if parsed.bandwidth and device != "cuda":
        raise UserError("--bandwidth measures GPU kernels, which no CPU runs; it needs a CUDA device that torch sees")
    from benchmarks.operators import Effort
    from benchmarks.report import Environment
    from benchmarks.subjects import Machine
    from lightning_xvol.training import environment

    for name in names:
        registry.load("operator", name)  # a wrong import path shows before anything is measured
    files.make_folder(out)
    torch.set_num_threads(parsed.threads)
    rounds = 2 if parsed.smoke else 9 if parsed.network else 7
    effort = Effort(parsed.rounds or rounds, 0 if parsed.smoke else 0.02, parsed.seed)
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
    if parsed.network:
        return _network(machine, effort, where, out)
    if parsed.bandwidth:
        return _bandwidth(chosen, machine, effort, where, out)
    if parsed.overhead:
        return _overhead(names if parsed.operators else None, machine, where, out)
    _measure_operators(None if parsed.core else names, chosen, machine, effort, where, out)
    if not parsed.no_scaling:
        _measure_scaling(names if parsed.operators else None, parsed.core, machine, effort, where, out)
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


def _plan(parsed: argparse.Namespace, names: list[str], chosen: list[shapes.Shape]) -> str:
    if parsed.data:
        return f"loader, {parsed.workers} workers"
    if parsed.network:
        return "ResNet-50 with X-volution in conv5_x"
    if parsed.overhead:
        return "the suite's training step against a bare PyTorch loop"
    if parsed.bandwidth:
        what = "PSSA's Triton kernels"
    elif parsed.core:
        what = "PSSA's arithmetic alone, and whole operators with it"
    else:
        what = f"operators: {', '.join(names)}"
    return "\n".join([*(f"shape {shape.name}: {shape}" for shape in chosen), what])


def _measure_operators(
    names: list[str] | None,
    chosen: list[shapes.Shape],
    machine: Machine,
    effort: Effort,
    where: Environment,
    out: Path,
) -> None:
    """A shape after the other; the files hold what is measured so far. No names: PSSA's arithmetic."""
    from benchmarks import core, operators, report

    stem, rows = f"{'core' if names is None else 'operators'}-{where.slug}", []
    title, notes = ("PSSA's arithmetic", report.CORE_NOTES) if names is None else ("Operators", ())
    for shape in chosen:
        print(f"\n{shape.name} ...", flush=True)
        if names is None:
            found = core.measure(shape, machine, effort)
        else:
            found = operators.measure(names, shape, machine, effort)
        rows += found
        print(report.operator_tables(found).partition("\n\n")[2], flush=True)
        report.write_csv(out / f"{stem}.csv", operators.columns(machine.device.type == "cuda"), rows, where)
        text = report.heading(title, where, *notes, *report.OPERATOR_NOTES) + report.operator_tables(rows)
        files.write_text(out / f"{stem}.md", text + report.fused_summary(rows))
    print(f"{report.fused_summary(rows)}\ntables: {out / stem}.csv, .md")


def _measure_scaling(
    names: list[str] | None, of_core: bool, machine: Machine, effort: Effort, where: Environment, out: Path
) -> None:
    """The default three, or the operators that were asked for, or PSSA's arithmetic."""
    from benchmarks import core, plot, report, scaling

    print("\ntime against pixels ...", flush=True)
    sides = scaling.SMOKE_SIDES if where.smoke else scaling.SIDES
    if of_core:
        rows = scaling.measure(core.SCALED, sides, machine, effort, core.make_core)
    else:
        rows = scaling.measure(names or scaling.OPERATORS, sides, machine, effort)
    table = report.scaling_table(rows)
    print(table, flush=True)
    stem = out / f"{'scaling-core' if of_core else 'scaling'}-{where.slug}"
    report.write_csv(stem.with_name(f"{stem.name}.csv"), scaling.COLUMNS, rows, where)
    notes = report.CORE_SCALING_NOTES if of_core else report.SCALING_NOTES
    text = report.heading("Time against pixels", where, *notes) + f"{table}\n"
    files.write_text(stem.with_name(f"{stem.name}.md"), text)
    if not plot.available():
        print(plot.MISSING)
        return
    paths = plot.write_scaling(rows, str(where), where.smoke, stem)
    print(f"tables: {stem}.csv, .md; figure: {', '.join(path.suffix for path in paths)}")


def _network(machine: Machine, effort: Effort, where: Environment, out: Path) -> int:
    from benchmarks import network, report

    backbone, images = network.BACKBONE, network.IMAGES
    if where.smoke:
        backbone, images = network.SMOKE_BACKBONE, network.SMOKE_IMAGES
    rows = network.measure(backbone, images, machine, effort)
    heading = report.heading(backbone, where, *report.NETWORK_NOTES)
    return _write("network", heading, report.network_table(rows), network.COLUMNS, rows, where, out)


def _bandwidth(chosen: list[shapes.Shape], machine: Machine, effort: Effort, where: Environment, out: Path) -> int:
    from benchmarks import bandwidth, report

    rows = [row for shape in chosen for row in bandwidth.measure(shape, machine, effort)]
    heading = report.heading("Bandwidth of PSSA's kernels", where, *report.BANDWIDTH_NOTES)
    return _write("bandwidth", heading, report.bandwidth_table(rows), bandwidth.COLUMNS, rows, where, out)


def _overhead(names: list[str] | None, machine: Machine, where: Environment, out: Path) -> int:
    from benchmarks import overhead, report

    steps = overhead.SMOKE_STEPS if where.smoke else overhead.STEPS
    rows = [
        row
        for name in names or overhead.OPERATORS
        for row in overhead.measure(name, steps, where.rounds, machine.device)
    ]
    heading = report.heading("Overhead", where, *overhead.NOTES)
    return _write("overhead", heading, overhead.table(rows), overhead.COLUMNS, rows, where, out)


def _loaders(parsed: argparse.Namespace, machine: Machine, effort: Effort, where: Environment, out: Path) -> int:
    from benchmarks import loaders, report

    images = parsed.images or (16 if parsed.smoke else 512)
    batch = parsed.batch_size or (8 if parsed.smoke else 32)
    rows = loaders.measure(images, parsed.workers, batch, machine.device, effort)
    heading = report.heading("Loaders", where, *report.LOADER_NOTES)
    return _write("loaders", heading, report.loader_table(rows), loaders.COLUMNS, rows, where, out)


def _write(
    name: str, heading: str, table: str, columns: Sequence[str], rows: Sequence[Row], where: Environment, out: Path
) -> int:
    """Print the table and write it as Markdown and CSV."""
    from benchmarks import report

    print(table)
    stem = out / f"{name}-{where.slug}"
    report.write_csv(stem.with_name(f"{stem.name}.csv"), columns, rows, where)
    files.write_text(stem.with_name(f"{stem.name}.md"), f"{heading}{table}\n")
    print(f"tables: {stem}.csv, .md")
    return 0
