"""Mode `core`: PSSA's arithmetic alone. Normalised query, key and value go in, the attention result comes out."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from benchmarks import operators
from benchmarks.measure import Call, Effort, Row, kept_bytes
from benchmarks.session import Session
from benchmarks.shapes import Shape
from benchmarks.subjects import Machine, Subject, failing_at, literally, make_subject
from lightning_xvol import kernels
from lightning_xvol.config import registry
from lightning_xvol.config.pssa_options import PSSAOptions
from lightning_xvol.kernels.spec import Spec
from lightning_xvol.seeding import derive_seed

ATTENTION = "self_attention"
HEADS = 4  # of dot; hadamard has none
FORMS = {"hadamard": "hadamard", "dot": f"dot, {HEADS} heads"}
WHOLE = ("pssa", "xvolution")

NOTES = (
    "`core` is PSSA's arithmetic alone: normalised query, key and value go in, the attention result comes out. The "
    "whole operators also have projections, normalisation and batch norms.",
    *operators.NOTES,
)


def run(parsed: argparse.Namespace, session: Session) -> None:
    """Measure the arithmetic at the shapes of `parsed`."""

    def at(shape: Shape) -> list[Row]:
        return measure(shape, session.machine, session.effort)

    operators.run_shapes("core", "PSSA's arithmetic", NOTES, at, parsed.shapes, session)


def measure(shape: Shape, machine: Machine, effort: Effort) -> list[Row]:
    """Rows of the arithmetic alone and of whole operators, in each form, each against its literal reference."""
    subjects = [make_subject(operators.BASELINE, shape, machine, effort.seed)]
    subjects += [make_core(form, shape, machine, effort.seed) for form in FORMS]
    for name in WHOLE:
        for form, label in FORMS.items():
            options = {"form": form, "num_heads": HEADS} if form == "dot" else {"form": form}
            whole = f"{registry.label('operator', name)}, {label}"
            subjects.append(make_subject(name, shape, machine, effort.seed, options=options, label=whole))
    return operators.compare(subjects, shape, machine, effort)


def make_core(name: str, shape: Shape, machine: Machine, seed: int, literal: bool = True) -> Subject:
    """The arithmetic of `name`, which is a form of PSSA or global attention with one head, at `shape`."""
    if name == ATTENTION:
        return _attention(shape, machine, seed)
    spec = Spec(name, PSSAOptions.shift_distances, num_heads=HEADS if name == "dot" else 1)
    tensors = [*_maps(shape, machine, seed), machine.tap_weight(spec, shape.channels, seed)]

    def attend(query: Tensor, key: Tensor, value: Tensor, weight: Tensor) -> Tensor:
        return kernels.pssa(spec, query, key, value, weight, None)

    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    on_meta = [tensor.to("meta").requires_grad_() for tensor in tensors]
    gradient = torch.ones_like(tensors[0])

    def forward() -> Tensor:
        with torch.inference_mode():
            return attend(*tensors)

    def training() -> object:
        return torch.autograd.grad(attend(*leaves), leaves, gradient)

    calls: dict[str, Call] = {"forward": forward, "training": training}
    if literal:
        calls |= {f"reference_{timing}": literally(call) for timing, call in calls.items()}
    with failing_at(shape, f"the core of {name!r}"), kernels.force("reference"):
        reference = kept_bytes(lambda: attend(*on_meta), on_meta)
    return Subject(
        name=name,
        label=f"core, {FORMS[name]}",
        params=tensors[-1].numel(),
        macs=shape.pixels * spec.macs_per_query(shape.channels),
        saved_bytes=kept_bytes(lambda: attend(*leaves), leaves),
        reference_saved_bytes=reference,
        calls=calls,  # type: ignore[arg-type]
    )


def _attention(shape: Shape, machine: Machine, seed: int) -> Subject:
    """Global attention over `[B, 1, N, C]`, the layout in which the library is fastest."""
    maps = [x.flatten(2).transpose(1, 2).unsqueeze(1).contiguous() for x in _maps(shape, machine, seed)]

    def forward() -> Tensor:
        with torch.inference_mode():
            return kernels.self_attention(*maps)

    return Subject(
        name=ATTENTION,
        label="global attention, 1 head",
        params=0,
        macs=2 * shape.channels * shape.pixels**2,
        saved_bytes=0,
        reference_saved_bytes=None,
        calls={"forward": forward},
    )


def _maps(shape: Shape, machine: Machine, seed: int) -> list[Tensor]:
    return [machine.input(shape, derive_seed(seed, name)) for name in ("query", "key", "value")]
