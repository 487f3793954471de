"""Mode `network`: a network with X-volution in conv5_x against the plain one, a training step and inference."""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import report
from benchmarks.measure import Call, Effort, Row, alternate, cpu_clock, milliseconds, ratio
from benchmarks.session import Session
from benchmarks.shapes import Shape
from benchmarks.subjects import Machine, failing_at, inference
from lightning_xvol.backbones import build_backbone, count_macs, count_parameters
from lightning_xvol.config import libraries
from lightning_xvol.config.schema import BackboneConfig, OperatorConfig
from lightning_xvol.fusion import fuse
from lightning_xvol.seeding import derive_seed, seed_generators

PLAIN = "plain"
NETWORKS: Mapping[str, OperatorConfig] = {
    PLAIN: OperatorConfig("convolution"),
    "X-volution, dot": OperatorConfig("xvolution"),
    "X-volution, hadamard": OperatorConfig("xvolution", {"form": "hadamard"}),
}
IMAGES, SMOKE_IMAGES = Shape("224", 8, 3, 224, 224), Shape("32", 2, 3, 32, 32)
USUAL = ("resnet50", "small_resnet")
CLASSES = 1000
TIMINGS = ("training", "inference", "fused")

COLUMNS = ("backbone", "network", "batch", "height", "width", "params", "macs", "macs_over_plain",
           *(f"{timing}_{part}" for timing in TIMINGS for part in ("ms", "q1_ms", "q3_ms", "over_plain")),
           "fused_over_unfused")  # fmt: skip

NOTES = (
    "All rows are the same network, with another operator in conv5_x and with the stride in the first 1x1 of every "
    "bottleneck. Times of one batch: median [quartiles]. Ratios are medians of the rounds' own ratios. A training step "
    "is forward, cross-entropy, backward and SGD with momentum. `fused` to plain compares with the plain network's "
    "inference.",
    report.CPU_TIME_NOTE,
)


def run(parsed: argparse.Namespace, session: Session) -> None:
    """Measure every network."""
    backbone, images = parsed.backbone, SMOKE_IMAGES if parsed.smoke else IMAGES
    rows = measure(backbone, images, session.machine, session.effort)
    text = table(rows)
    print(text)
    # Tables of other networks stand beside that of the usual one.
    name = "network" if backbone in USUAL else f"network-{re.sub('[^a-z0-9_]+', '-', backbone.lower())}"
    library = "".join(f" of {library} {version}" for library, version in libraries.versions(backbone).items())
    print(session.write(name, f"{backbone}{library}", NOTES, text, COLUMNS, rows))


def measure(backbone: str, images: Shape, machine: Machine, effort: Effort) -> list[Row]:
    """A row per network. A training step is forward, cross-entropy, backward and SGD with momentum.

    `fused_over_plain` compares with the plain network's inference, because the plain network has nothing to fuse.
    """
    networks = {name: _build(backbone, operator, machine, effort.seed) for name, operator in NETWORKS.items()}
    x = machine.input(images, effort.seed)
    calls: dict[tuple[str, str], Call] = {}
    for name, network in networks.items():
        calls[name, "training"] = training_step(copy.deepcopy(network), x)
        calls[name, "inference"] = inference(network, x)
        if name != PLAIN:
            calls[name, "fused"] = inference(fuse(copy.deepcopy(network).eval()), x)
    with failing_at(images, backbone):
        samples = alternate(calls, machine.device, effort, "network", cpu_clock)
    image = (images.channels, images.height, images.width)
    macs = {name: count_macs(network, image) for name, network in networks.items()}
    rows = []
    for name, network in networks.items():
        row: dict[str, Any] = {
            "backbone": backbone,
            "network": name,
            **{key: getattr(images, key) for key in ("batch", "height", "width")},
            "params": count_parameters(network),
            "macs": macs[name],
            "macs_over_plain": macs[name] / macs[PLAIN],
        }
        for timing in TIMINGS:
            if (name, timing) not in samples:
                continue
            plain = "training" if timing == "training" else "inference"
            row |= milliseconds(samples[name, timing], f"{timing}_")
            row[f"{timing}_over_plain"] = ratio(samples[name, timing], samples[PLAIN, plain])
        if (name, "fused") in samples:
            row["fused_over_unfused"] = ratio(samples[name, "fused"], samples[name, "inference"])
        rows.append(row)
    return rows


def _build(backbone: str, operator: OperatorConfig, machine: Machine, seed: int) -> nn.Module:
    seed_generators(derive_seed(seed, "weights", operator.name))
    return machine.move(build_backbone(BackboneConfig(backbone, stages=(5,)), operator, CLASSES))


def training_step(network: nn.Module, x: Tensor, classes: int = CLASSES) -> Call:
    """Forward, cross-entropy, backward and SGD with momentum on one batch of images `x`."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    labels = torch.arange(len(x), device=x.device) % classes

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(x).float(), labels).backward()
        optimizer.step()

    return step


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = []
    for row in rows:
        line = [row["network"], *report.costs(row, "macs_over_plain")]
        for timing in ("training", "inference", "fused"):
            line += [report.milliseconds(row, f"{timing}_"), report.times(row.get(f"{timing}_over_plain"))]
        lines.append([*line, report.times(row.get("fused_over_unfused"))])
    header = ["conv5_x", "params", "MACs", "to plain", "training step, ms", "to plain", "inference, ms", "to plain",
              "fused, ms", "to plain", "to unfused"]  # fmt: skip
    return report.markdown(header, lines)
