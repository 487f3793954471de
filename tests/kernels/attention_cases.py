"""Cases and tolerances for the Triton kernels, on a GPU and in Triton's interpreter.

The oracle is the literal reference in float64. An error is relative to the largest entry of the expected tensor.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_xvol.kernels import reference, triton
from lightning_xvol.kernels.spec import Spec

NAMES = ("output", "query", "key", "value", "weight", "static")
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 2e-2}
CL, NCHW = torch.channels_last, torch.contiguous_format


@dataclass(frozen=True)
class Case:
    """Shapes and options of one attention. `formats` are the memory formats of query, key and value."""

    form: str
    size: tuple[int, int]
    channels: int = 6
    heads: int = 1
    stride: int = 1
    distances: tuple[int, ...] = (1, 3, 5)
    centre: bool = False
    static: bool = False
    formats: tuple[torch.memory_format, ...] = (NCHW, NCHW, NCHW)
    dtype: torch.dtype = torch.float32
    table_dtype: torch.dtype | None = None
    batch: int = 2

    def __str__(self) -> str:
        changed = {name: value for name, value in vars(self).items() if value != getattr(Case, name, None)}
        return " ".join(f"{name}={value}" for name, value in changed.items()).replace("torch.", "")

    @property
    def spec(self) -> Spec:
        return Spec(self.form, self.distances, self.centre, self.stride, self.heads)

    def tensors(self, device: str = "cpu") -> list[Tensor | None]:
        """Query, key, value, weight, and static or None."""
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        shapes = (self.spec.output_size(*self.size), self.size, self.size)
        maps = [
            random(self.batch, self.channels, *shape).to(device, self.dtype).contiguous(memory_format=form)
            for shape, form in zip(shapes, self.formats, strict=True)
        ]
        rows = self.heads if self.form == "dot" else self.channels
        tables = [random(rows, len(self.spec.offsets)).to(device, self.table_dtype or self.dtype) for _ in range(2)]
        return [*maps, tables[0], tables[1] if self.static else None]


CASES = (
    # Sizes from 1x1 to 17x13, both strides, both memory formats, with and without static and centre.
    Case("hadamard", (1, 1), 2, static=True),
    Case("hadamard", (1, 7), 5, stride=2, centre=True, formats=(CL, CL, CL)),
    Case("hadamard", (17, 13), 2, static=True),
    Case("hadamard", (17, 13), 2, stride=2, centre=True),
    Case("hadamard", (13, 7), 6, formats=(CL, CL, CL), batch=1),
    Case("hadamard", (10, 7), 12, stride=2, static=True, distances=(2,), formats=(CL, CL, CL)),
    Case("hadamard", (3, 2), 40, static=True, formats=(CL, CL, CL)),  # two programs along the channels
    Case("dot", (1, 1), 6, 2, formats=(CL, CL, CL)),
    Case("dot", (2, 1), 5, 1, stride=2, static=True),
    Case("dot", (17, 13), 6, 2, static=True, distances=(2,)),
    Case("dot", (17, 13), 3, 1, stride=2, centre=True),
    Case("dot", (13, 7), 6, 2, formats=(CL, CL, CL), batch=1),
    Case("dot", (9, 14), 12, 4, stride=2, static=True, distances=(2,), formats=(CL, CL, CL)),
    Case("dot", (4, 4), 2, 2, distances=(1, 2, 9)),  # one channel per head; a reach beyond the map
    # Each map in another memory format.
    Case("hadamard", (5, 6), 4, static=True, distances=(2,), formats=(NCHW, CL, NCHW)),
    Case("dot", (5, 6), 6, 2, distances=(2,), formats=(CL, NCHW, NCHW)),
    # Other dtypes, among them tables in float32 with maps in bfloat16.
    Case("hadamard", (7, 5), 6, static=True, dtype=torch.bfloat16, formats=(CL, CL, CL)),
    Case("dot", (7, 5), 6, 2, static=True, dtype=torch.bfloat16, table_dtype=torch.float32),
    Case("hadamard", (4, 5), 2, dtype=torch.float64),
    Case("dot", (4, 5), 4, 2, stride=2, static=True, dtype=torch.float64, formats=(CL, CL, CL)),
)

GRID = tuple(
    Case(form, size, channels, heads, stride, distances, centre, static, (memory_format,) * 3)
    for (form, channels, heads), size, stride, (distances, centre), static, memory_format in itertools.product(
        (("dot", 12, 3), ("dot", 5, 1), ("dot", 8, 4), ("hadamard", 3, 1), ("hadamard", 10, 1)),
        ((1, 1), (3, 2), (17, 13)),
        (1, 2),
        (((1, 3, 5), False), ((2,), True)),
        (False, True),
        (NCHW, CL),
    )
)

Attention = Callable[..., Tensor]


def attention(case: Case) -> Attention:
    """The kernels."""
    function = triton.dot if case.form == "dot" else triton.hadamard
    return lambda *tensors: function(*tensors, case.spec)


def literal(case: Case) -> Attention:
    """The oracle. The static taps are the form without a product."""
    static_form = Spec("static" if case.form == "dot" else "static_channel", *list(vars(case.spec).values())[1:])

    def attend(query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor | None) -> Tensor:
        y = reference.pssa(case.spec, query, key, value, weight, None)
        return y if static is None else y + reference.pssa(static_form, None, None, value, static, None)

    return attend


def results(function: Attention, tensors: list[Tensor | None], gradient: Tensor) -> list[Tensor]:
    """The output, and the gradients of the given tensors for the output gradient `gradient`."""
    leaves = [None if x is None else x.detach().requires_grad_() for x in tensors]
    y = function(*leaves)
    given = [x for x in leaves if x is not None]
    return [y.detach(), *torch.autograd.grad(y, given, gradient.to(y.device, y.dtype))]


def errors(case: Case, device: str = "cpu", tensors: list[Tensor | None] | None = None) -> dict[str, float]:
    """The relative error of the output and of every gradient."""
    tensors = case.tensors(device) if tensors is None else tensors
    shape = (case.batch, case.channels, *case.spec.output_size(*case.size))
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(case.dtype)
    found = results(attention(case), tensors, gradient)
    exact = [None if x is None else x.to("cpu", torch.float64) for x in tensors]
    expected = results(literal(case), exact, gradient)
    return {name: error(x, y) for name, x, y in zip(NAMES, found, expected, strict=False)}


def error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found.cpu().double() - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
