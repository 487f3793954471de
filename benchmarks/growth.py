"""Mode `growth`: time and memory of a training step against batch, pixels and depth, with the exponents of growth."""

from __future__ import annotations

import argparse
import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from benchmarks import growth_tables, plot, report
from benchmarks.measure import Call, Effort, Row, alternate, cpu_clock, milliseconds, peak_bytes, ratio, saved_bytes
from benchmarks.network import training_step
from benchmarks.power_law import fit
from benchmarks.session import Session
from benchmarks.shapes import Growth, Shape
from benchmarks.subjects import Machine, failing_at
from lightning_xvol.backbones import build_backbone, count_macs, count_parameters
from lightning_xvol.config import registry
from lightning_xvol.config.recipes import DEFAULT, get_recipe
from lightning_xvol.config.schema import BackboneConfig
from lightning_xvol.seeding import derive_seed, seed_generators

CLASSES, CHANNELS = 10, 3
LAW = ("exponent", "exponent_error", "r_squared", "upper_exponent")
COLUMNS = ("operator", "label", "axis", "batch", "side", "pixels", "blocks", "params", "macs", "step_ms", "step_q1_ms",
           "step_q3_ms", "over_convolution", "saved_bytes", "peak_bytes", "attention_bytes",
           *(f"{cost}_{part}" for cost in ("time", "memory") for part in LAW), "note")  # fmt: skip

NOTES = (
    f"A training step of the network of `{DEFAULT}`, the small ResNet with an operator in conv3_x to conv5_x: forward, "
    "cross-entropy, backward and SGD with momentum, on one batch of random images with 3 channels. In each table, one "
    "of batch, pixels and depth varies. Times are the median [quartiles] of the rounds. The round brackets say how "
    "many times as long a step takes as with the convolution.",
    "The exponent p is fitted to cost = a size^p by least squares of the logarithms, with its standard error and R². "
    "The size of an image is its number of pixels. A part of the cost that does not grow with the size lowers p. So "
    "the last line gives p again for the larger half of the sizes.",
    report.CPU_TIME_NOTE,
)
SAVED_NOTE = (
    "Memory on a CPU is what forward keeps for backward, without images, weights, gradients and momentum. It is "
    "counted, not sampled."
)
PEAK_NOTE = "Memory on a GPU is the peak of a training step, without images, weights, gradients and momentum."


@dataclass(frozen=True)
class Point:
    """A network and its batch: `batch` square images of `side` pixels, and `depth` times the blocks of the recipe."""

    batch: int
    side: int
    depth: int

    @property
    def shape(self) -> Shape:
        """The shape of the images, `[B, C, H, W]`."""
        return Shape(f"{self.side}x{self.side}", self.batch, CHANNELS, self.side, self.side)

    @property
    def backbone(self) -> BackboneConfig:
        """The recipe's network with more blocks in each stage."""
        backbone = get_recipe(DEFAULT).config().backbone
        options = registry.resolve_options("backbone", backbone.name, backbone.options)
        blocks = tuple(self.depth * count for count in options["blocks"])
        return dataclasses.replace(backbone, options={**options, "blocks": blocks})

    def size(self, axis: str) -> int:
        """The size on `axis`: images (`batch`), pixels of an image (`side`), or blocks of the network (`depth`)."""
        return {"batch": self.batch, "side": self.side**2, "depth": sum(self.backbone.options["blocks"])}[axis]


Key = tuple[str, Point]  # an operator and where it is measured


def run(parsed: argparse.Namespace, session: Session) -> None:
    """Measure the operators of `parsed` at all sizes, and draw the figure."""
    print("\ntime and memory against batch, pixels and depth ...", flush=True)
    rows = measure(parsed.operators, parsed.sizes, session.machine, session.effort)
    text = growth_tables.tables(rows)
    print(text, flush=True)
    cuda = session.machine.device.type == "cuda"
    notes = (*NOTES, PEAK_NOTE if cuda else SAVED_NOTE)
    written = session.write("growth", "Growth of time and memory", notes, text, COLUMNS, rows)
    if not plot.available():
        print(f"{written}; {plot.left_out(session.stem('growth'))}")
        return
    paths = plot.write_growth(rows, str(session.where), parsed.smoke, session.stem("growth"))
    print(f"{written}; figure: {', '.join(path.suffix for path in paths)}")


def measure(names: Sequence[str], sizes: Growth, machine: Machine, effort: Effort) -> list[Row]:
    """A row of `COLUMNS` for each axis, operator and size.

    A row has the time of a training step in milliseconds, its memory in bytes, and the exponents of both. The same
    rounds measure everything. A point that two axes share is measured once. If the weights of global attention would
    take more than `growth_tables.ATTENTION_BYTES`, the row has a note instead of costs.

    Raises:
        UserError: if a network cannot be built or does not run.
    """
    axes = {axis: [Point(**{**sizes.base, axis: value}) for value in values] for axis, values in sizes.axes.items()}
    keys = dict.fromkeys((name, point) for points in axes.values() for name in names for point in points)
    networks = {(name, point.depth): _build(name, point, machine, effort.seed) for name, point in keys}
    found: dict[Key, Row] = {}
    calls: dict[Key, Call] = {}
    for name, point in keys:
        network, shape = networks[name, point.depth], point.shape
        with failing_at(shape, f"the network of {name!r}"):
            found[name, point] = _counts(name, network, shape, machine.dtype.itemsize)
            if "note" not in found[name, point]:
                x = machine.input(shape, effort.seed)
                found[name, point]["saved_bytes"] = saved_bytes(network.train(), x)
                calls[name, point] = training_step(network, x, CLASSES)
    with failing_at(next(iter(keys))[1].shape, "a training step"):
        samples = alternate(calls, machine.device, effort, "growth", cpu_clock)
        for key, seconds in samples.items():
            found[key] |= milliseconds(seconds, "step_")
            if machine.device.type == "cuda":
                found[key]["peak_bytes"] = peak_bytes(calls[key], machine.device)
    for name, point in samples:
        if (growth_tables.BASELINE, point) in samples:
            found[name, point]["over_convolution"] = ratio(samples[name, point], samples[growth_tables.BASELINE, point])
    return [row for axis, points in axes.items() for name in names for row in _axis(axis, name, points, found)]


def _build(name: str, point: Point, machine: Machine, seed: int) -> nn.Module:
    seed_generators(derive_seed(seed, "weights", name))
    with failing_at(point.shape, f"the network of {name!r}"):
        operator = get_recipe(DEFAULT).config(name).operator
        return machine.move(build_backbone(point.backbone, operator, CLASSES, CHANNELS))


def _counts(name: str, network: nn.Module, shape: Shape, itemsize: int) -> Row:
    """The columns of `network` that need no run, and a note if it cannot be measured."""
    row: Row = {
        "operator": name,
        "label": registry.label("operator", name),
        "params": count_parameters(network),
        "macs": count_macs(network, (shape.channels, shape.height, shape.width)),
        "attention_bytes": itemsize * attention_pairs(network, shape),
    }
    if row["attention_bytes"] > growth_tables.ATTENTION_BYTES:
        row["note"] = "not measured: its attention weights exceed the limit"
    return row


class _Attention(TorchFunctionMode):
    """Counts the pairs of positions that global attention compares in its block, over all heads and images."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            given = dict(zip(("query", "key"), args, strict=False)) | kwargs
            self.pairs += given["query"].shape[:-1].numel() * given["key"].shape[-2]
        return func(*args, **kwargs)


def attention_pairs(network: nn.Module, shape: Shape) -> int:
    """The number of attention weights over the whole map in a forward pass of `network`, found on the meta device.

    It is 0 for a foreign operator that does not run there.
    """
    x = torch.empty(shape.batch, shape.channels, shape.height, shape.width, device="meta")
    try:
        with torch.no_grad(), _Attention() as attention:
            copy.deepcopy(network).to("meta", torch.float32).eval()(x)
    except (RuntimeError, NotImplementedError):
        return 0
    return attention.pairs


def _axis(axis: str, name: str, points: Sequence[Point], found: Mapping[Key, Row]) -> list[Row]:
    """The rows of one operator on one axis, each with the power laws of the whole axis."""
    rows: list[Row] = [
        {
            **found[name, point],
            "axis": axis,
            "batch": point.batch,
            "side": point.side,
            "pixels": point.size("side"),
            "blocks": point.size("depth"),
        }
        for point in points
    ]
    measured = [(point.size(axis), row) for point, row in zip(points, rows, strict=True) if "note" not in row]
    laws: Row = {}
    for cost, column in (("time", "step_ms"), ("memory", growth_tables.memory_column(rows))):
        law = fit({size: row[column] for size, row in measured})
        upper = fit({size: row[column] for size, row in measured[len(measured) // 2 :]})
        values = (law.exponent, law.error, law.r_squared, upper.exponent)
        laws |= {f"{cost}_{part}": value for part, value in zip(LAW, values, strict=True)}
    return [{**row, **laws} for row in rows]
