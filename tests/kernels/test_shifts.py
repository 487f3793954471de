"""The path `shifts`: hand-written gradients against the literal reference, blocks, and the memory that is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.measure import kept_bytes
from lightning_xvol import kernels
from lightning_xvol.kernels import shifts
from lightning_xvol.kernels.shifts import blocks
from lightning_xvol.kernels.spec import FORMS, Spec, Window

CHANNELS, HEADS, DISTANCES = 4, 2, (1, 3, 5)
FORMS_HERE = [("hadamard", False), ("hadamard", True), ("hadamard_no_value", False), ("dot", False), ("dot", True)]
FORMS_HERE += [("dense", False)]
SIZES = [(1, 1), (1, 7), (7, 1), (5, 9), (12, 11)]


def arguments(
    spec: Spec, size: tuple[int, int], bias: bool, batch: int = 3, channels: int = CHANNELS, dtype: Any = torch.double
) -> list[Tensor | None]:
    """Query, key, value, tap weight and position bias, None where the form has none."""
    form = FORMS[spec.form]
    query = torch.randn(batch, channels, *spec.output_size(*size), dtype=dtype) if form.product else None
    key = torch.randn(batch, channels, *size, dtype=dtype) if form.product else None
    value = torch.randn(batch, channels, *size, dtype=dtype) if form.value else None
    weight = torch.randn(spec.weight_shape(channels), dtype=dtype)
    return [query, key, value, weight, torch.randn_like(weight) if bias else None]


def results(spec: Spec, tensors: list[Tensor | None], path: Any, wanted: Any = None) -> list[Tensor | None]:
    """The output and the gradients of the arguments, or only of those with an index in `wanted`."""
    leaves = [
        None if x is None else x.detach().requires_grad_(wanted is None or i in wanted) for i, x in enumerate(tensors)
    ]
    with kernels.force(path):
        y = kernels.pssa(spec, *leaves)
    grad = torch.randn(y.shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    y.backward(grad.to(y.dtype))
    return [y.detach(), *(None if x is None else x.grad for x in leaves)]


def assert_close(found: list[Tensor | None], expected: list[Tensor | None], tolerance: float = 1e-12) -> None:
    for name, x, y in zip(["output", "query", "key", "value", "weight", "bias"], found, expected, strict=True):
        assert (x is None) == (y is None), name
        if x is not None and y is not None:
            error = (x.double() - y.double()).abs().max() / y.abs().max().clamp_min(1e-6)
            assert error <= tolerance, f"{name} is off by {error:.1e}"


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("form", "bias"), FORMS_HERE)
def test_gradients_equal_the_reference(form: str, bias: bool, stride: int) -> None:
    spec = Spec(form, DISTANCES, stride=stride, num_heads=HEADS)
    for size in SIZES:
        tensors = arguments(spec, size, bias)
        expected = results(spec, tensors, "reference")
        assert_close(results(spec, tensors, "shifts"), expected)
        last = [z if z is None or z.dim() < 4 else z.contiguous(memory_format=torch.channels_last) for z in tensors]
        assert_close(results(spec, last, "shifts"), expected)
        views = [None if x is None else torch.cat([x, x], 1)[:, : x.shape[1]] for x in tensors]  # of a larger tensor
        assert_close(results(spec, views, "shifts"), expected)


@pytest.mark.parametrize(("form", "bias"), FORMS_HERE)
def test_gradients_equal_finite_differences(form: str, bias: bool) -> None:
    spec = Spec(form, (1, 3), centre=True, stride=2, num_heads=HEADS)
    tensors = [x for x in arguments(spec, (4, 3), bias, batch=1) if x is not None]
    indices = [i for i, x in enumerate(arguments(spec, (4, 3), bias, batch=1)) if x is not None]

    def call(*given: Tensor) -> Tensor:
        every: list[Tensor | None] = [None] * 5
        for index, x in zip(indices, given, strict=True):
            every[index] = x
        with kernels.force("shifts"):
            return kernels.pssa(spec, *every)

    assert torch.autograd.gradcheck(call, [x.requires_grad_() for x in tensors])


def test_gradients_of_involution_equal_finite_differences() -> None:
    window = Window(3, stride=2)
    x = torch.randn(2, 4, 3, 4, dtype=torch.double, requires_grad=True)
    weight = torch.randn(2, 2, 9, 2, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, weight: shifts.involution(x, weight, window), [x, weight])


@pytest.mark.parametrize(("form", "bias"), FORMS_HERE)
def test_gradients_of_some_arguments_are_those_of_all(form: str, bias: bool) -> None:
    spec = Spec(form, DISTANCES, num_heads=HEADS)
    tensors = arguments(spec, (4, 6), bias)
    everything = results(spec, tensors, "shifts")
    for index, tensor in enumerate(tensors):
        if tensor is not None:
            some = results(spec, tensors, "shifts", wanted=[index])
            kept = [x if i in (0, index + 1) else None for i, x in enumerate(everything)]
            assert_close(some, kept, 0)


@pytest.mark.parametrize("entries", [1, 2 * 7 * CHANNELS, 7 * 9 * CHANNELS, 2 * 7 * 9 * CHANNELS])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("form", ["hadamard", "dot"])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, form: str, stride: int, entries: int) -> None:
    """Blocks of rows and blocks of images."""
    spec = Spec(form, DISTANCES, stride=stride, num_heads=HEADS)
    tensors = arguments(spec, (9, 7), bias=True, batch=5)
    expected = results(spec, tensors, "reference")
    monkeypatch.setitem(blocks.BLOCK_ENTRIES, "cpu", entries)
    assert_close(results(spec, tensors, "shifts"), expected)


def test_blocks_of_an_involution_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    window, x = Window(5), torch.randn(3, 4, 6, 5, dtype=torch.double)
    weight, found = torch.randn(3, 2, 25, 6, 5, dtype=torch.double), []
    for path, entries in [("reference", 1), ("shifts", 1), ("shifts", 6 * 5 * 4 * 2), ("shifts", 1 << 20)]:
        monkeypatch.setitem(blocks.BLOCK_ENTRIES, "cpu", entries)
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        with kernels.force(path):
            y = kernels.involution(*leaves, window)
        found.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("form", ["hadamard", "dot", "dense"])
def test_low_precision_is_near_the_exact_result(form: str, dtype: torch.dtype) -> None:
    spec = Spec(form, DISTANCES, num_heads=HEADS)
    tensors = arguments(spec, (9, 10), bias=form != "dense", dtype=dtype)
    exact = results(spec, [None if x is None else x.double() for x in tensors], "reference")
    assert_close(results(spec, tensors, "shifts"), exact, 1e-5 if dtype == torch.float32 else 3e-2)


@pytest.mark.parametrize("form", ["hadamard", "dot", "dense", "static_channel"])
def test_backward_under_autocast_stays_in_float32(form: str) -> None:
    spec = Spec(form, DISTANCES, num_heads=HEADS)
    tensors = arguments(spec, (9, 10), bias=False, dtype=torch.float32)
    expected = results(spec, tensors, "shifts")
    with torch.autocast("cpu", torch.bfloat16):
        found = results(spec, tensors, "shifts")
    assert all(x is None or x.dtype == torch.float32 for x in found)
    assert_close(found, expected, 1e-6)


@pytest.mark.parametrize("form", ["hadamard", "hadamard_no_value", "dot", "dense"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_only_the_arguments_are_kept(form: str, device: str) -> None:
    spec = Spec(form, DISTANCES, num_heads=HEADS)
    tensors = [None if x is None else x.to(device).requires_grad_() for x in arguments(spec, (16, 16), bias=False)]
    given = [x for x in tensors if x is not None]
    with kernels.force("shifts"):
        assert kept_bytes(lambda: kernels.pssa(spec, *tensors), given) == 0
    with kernels.force("reference"):
        assert kept_bytes(lambda: kernels.pssa(spec, *tensors), given) > 24 * tensors[0].nbytes


def test_a_position_bias_keeps_its_product_with_the_weights() -> None:
    spec = Spec("hadamard", DISTANCES)
    tensors = [None if x is None else x.requires_grad_() for x in arguments(spec, (16, 16), bias=True)]
    with kernels.force("shifts"):
        kept = kept_bytes(lambda: kernels.pssa(spec, *tensors), [x for x in tensors if x is not None])
    assert kept == tensors[3].nbytes  # [C, T]


@pytest.mark.parametrize("form", ["hadamard", "dot"])
def test_the_bits_are_the_same_every_time(form: str) -> None:
    spec = Spec(form, DISTANCES, num_heads=4)
    tensors = arguments(spec, (17, 16), bias=True, batch=40, channels=32, dtype=torch.float32)  # more than a block
    assert_close(results(spec, tensors, "shifts"), results(spec, tensors, "shifts"), 0)


@pytest.mark.parametrize("form", ["hadamard", "dot"])
def test_compiles_forward_and_backward(form: str) -> None:
    spec = Spec(form, DISTANCES, stride=2, num_heads=HEADS)
    tensors = [None if x is None else x.requires_grad_() for x in arguments(spec, (19, 16), True, dtype=torch.float32)]
    leaves = [x for x in tensors if x is not None]

    def call(*leaves: Tensor) -> Tensor:
        return kernels.pssa(spec, *leaves)

    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    found, expected = [torch.autograd.grad(f(*leaves).square().sum(), leaves) for f in (compiled, call)]
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()
