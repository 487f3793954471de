"""The Triton kernels in Triton's interpreter. `test_triton.py` runs this file in a separate process.

It shows that indices, masks and sums are right. `tests/gpu` shows that a GPU compiles and runs the kernels.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_cases import CASES, CL, GRID, NCHW, TOLERANCE, Case, attention, errors, literal, results
from torch import Tensor

from benchmarks import bandwidth
from benchmarks.measure import Effort
from benchmarks.shapes import Shape
from benchmarks.subjects import Machine
from lightning_xvol import kernels
from lightning_xvol.kernels import triton
from lightning_xvol.kernels.tiles import Variant, use
from lightning_xvol.operators import build_operator

# The interpreter takes time for every tap. Where the number of taps does not matter there are eight.
FEW: dict[str, Any] = {"distances": (2,)}
SMALL = Case("dot", (3, 4), 6, 2, static=True, formats=(CL, CL, CL), **FEW)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equal_to_the_literal_reference(case):
    assert max(errors(case).values()) < TOLERANCE[case.dtype]


@pytest.mark.slow
@pytest.mark.parametrize("case", GRID, ids=str)
def test_equal_to_the_literal_reference_everywhere(case):
    assert max(errors(case).values()) < TOLERANCE[case.dtype]


@pytest.mark.parametrize("memory_format", [NCHW, CL])
def test_views_of_other_tensors_are_read_right(memory_format):
    """Slices of a projection, every second row of a larger map, and one value for the whole batch."""
    case = Case("dot", (4, 5), 6, 2, static=True, **FEW)
    stacked = torch.randn(2, 15, 4, 5).contiguous(memory_format=memory_format)
    rows = torch.randn(2, 6, 9, 5).contiguous(memory_format=memory_format)
    tables = [torch.randn(8, 2).t(), torch.randn(1, 8).expand(2, 8)]
    maps = [stacked[:, 4:10], rows[:, :, 1::2], torch.randn(1, 6, 4, 5).expand(2, -1, -1, -1)]
    assert max(errors(case, tensors=[*maps, *tables]).values()) < 1e-5
    case = Case("hadamard", (4, 5), 2, **FEW)
    assert max(errors(case, tensors=[*(x[:, ::4] for x in maps), tables[0], None]).values()) < 1e-5


def test_an_expanded_gradient_is_read_right():
    query, key, value, weight, static = SMALL.tensors()
    leaves = [x.requires_grad_() for x in (query, key, value, weight, static)]
    attention(SMALL)(*leaves).sum().backward()  # its gradient is one number, expanded
    ones = torch.ones(query.shape, dtype=torch.double)
    expected = results(literal(SMALL), [x.detach().double() for x in leaves], ones)[1:]
    assert all(torch.allclose(x.grad.double(), y, rtol=1e-4, atol=1e-5) for x, y in zip(leaves, expected, strict=True))


@pytest.mark.parametrize("wanted", ["query", "value", "static"])
def test_gradients_of_some_arguments_are_those_of_all(wanted):
    names = ("query", "key", "value", "weight", "static")
    leaves = dict(zip(names, SMALL.tensors(), strict=True))
    everything = results(attention(SMALL), list(leaves.values()), torch.ones_like(leaves["query"]))
    leaves[wanted].requires_grad_()
    attention(SMALL)(*leaves.values()).backward(torch.ones_like(leaves["query"]))
    assert torch.equal(leaves[wanted].grad, everything[1 + names.index(wanted)])
    assert all(x.grad is None for name, x in leaves.items() if name != wanted)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("form", ["dot", "hadamard"])
def test_an_empty_batch_gives_empty_results(form, static):
    case = Case(form, (3, 4), 6, 2, static=static, batch=0)
    tensors = case.tensors()
    y, *gradients = results(attention(case), tensors, torch.zeros(0, 6, 3, 4))
    given = [x for x in tensors if x is not None]
    assert y.shape == (0, 6, 3, 4) and [x.shape for x in gradients] == [x.shape for x in given]
    assert not any(x.any() for x in gradients)


@pytest.mark.parametrize("formats", [(NCHW, NCHW, NCHW), (CL, NCHW, CL)])
def test_memory_formats_stay(formats):
    case = Case("hadamard", (3, 4), 2, formats=formats, **FEW)
    tensors = case.tensors()
    y, *gradients = results(attention(case), tensors, torch.ones(2, 2, 3, 4))
    assert y.stride() == tensors[0].stride()
    assert [x.stride() for x in gradients] == [x.stride() for x in tensors[:4]]


@pytest.mark.parametrize("form", ["dot", "hadamard"])
def test_sums_over_several_tiles_and_programs_are_right(form):
    """A program walks over many tiles, and the last program finds too few. The bits are the same every time."""
    case = Case(form, (5, 7), 32, 1, static=True, formats=(CL, CL, CL), batch=1, **FEW)
    tensors, gradient = case.tensors(), torch.randn(1, 32, 5, 7)
    with use(Variant(runs=2)):
        assert max(errors(case).values()) < 1e-5
        once, again = (results(attention(case), tensors, gradient) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(once, again, strict=True))


def test_strides_beyond_32_bits_are_read_right():
    """Two images that are 2^31 elements apart. Most of the memory between them is never touched."""
    case = Case("dot", (2, 3), 4, 2, **FEW)
    query, key, value, weight, _ = case.tensors()
    try:
        far = torch.empty_strided((2, 4, 2, 3), (2**31 + 7, 6, 3, 1))
    except RuntimeError:
        pytest.skip("no address space of 8 GiB")
    far.copy_(key)
    assert max(errors(case, tensors=[query, far, value, weight, None]).values()) < 1e-5


def test_the_operation_passes_the_checks_of_pytorch():
    for case in (Case("dot", (2, 2), 2, static=True, **FEW), Case("hadamard", (2, 2), 1, **FEW)):
        tensors = [x if x is None else x.requires_grad_() for x in case.tensors()]
        torch.library.opcheck(triton.attend, (*tensors, list(case.distances), case.stride))


def test_the_second_derivative_is_that_of_the_literal_reference():
    def penalty(attend: Any) -> tuple[Tensor, ...]:
        tensors = [None if x is None else x.detach().clone().requires_grad_() for x in SMALL.tensors()]
        learned = [x for x in tensors if x is not None]
        gradients = torch.autograd.grad(attend(*tensors).square().sum(), learned, create_graph=True)
        return torch.autograd.grad(torch.stack([x.square().sum() for x in gradients]).sum(), learned)

    for found, expected in zip(penalty(attention(SMALL)), penalty(literal(SMALL)), strict=True):
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("form", ["dot", "hadamard"])
def test_only_the_arguments_are_saved(form):
    case = Case(form, (5, 6), 4, 2, static=True, **FEW)
    tensors = [x.requires_grad_() for x in case.tensors()]
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        attention(case)(*tensors)
    assert {x.data_ptr() for x in kept} <= {x.data_ptr() for x in tensors}


def test_compiles_to_one_graph():
    operator = build_operator("pssa", 4, 6, form="dot", num_heads=2, position_encoding=True, shift_distances=(2,))
    x = torch.randn(2, 4, 5, 6)
    torch.nn.init.normal_(operator.tap_bias)
    with kernels.force("triton"):
        compiled = torch.compile(operator, fullgraph=True, backend="aot_eager")
        found = outcome(compiled, operator, x)
        expected = outcome(operator, operator, x)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("options", [{"position_encoding": True}, {"normalize": False, "centre": True}], ids=str)
@pytest.mark.parametrize("form", ["dot", "hadamard"])
def test_the_operator_runs_on_the_kernels(form, options):
    operator = build_operator("pssa", 4, 3, 2, form=form, shift_distances=(2,), **options).double()
    x = torch.randn(2, 4, 5, 6, dtype=torch.double)
    with kernels.force("triton"):
        found = outcome(operator, operator, x)
    with kernels.force("reference"):
        expected = outcome(operator, operator, x)
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_operator_runs_under_autocast(dtype):
    operator = build_operator("pssa", 4, 6, form="dot", num_heads=2, shift_distances=(2,))
    x = torch.randn(2, 4, 5, 6)
    with kernels.force("triton"), torch.autocast("cpu", dtype):
        found = outcome(operator.attend, operator, x)
    with kernels.force("reference"):
        expected = outcome(operator.attend, operator, x)
    assert all((a - b).abs().max() < 5e-2 * b.abs().max() for a, b in zip(found, expected, strict=True))


def test_operators_without_triton_kernels_run_too():
    x = torch.randn(2, 4, 5, 6)
    for name in ("involution", "self_attention", "xvolution"):
        operator = build_operator(name, 4, 8)
        with kernels.force("triton"):
            found = operator(x)
        assert torch.allclose(found, operator(x), rtol=1e-4, atol=1e-5)


def test_bandwidth_is_measured(monkeypatch):
    monkeypatch.setattr(triton, "FORMS", ("dot",))
    rows = bandwidth.measure(Shape("tiny", 2, 2, 3, 4), Machine(torch.device("cpu")), Effort(rounds=1, seconds=0))
    assert [(row["form"], row["pass"]) for row in rows] == [("dot", "forward"), ("dot", "backward")]
    for row in rows:
        assert set(row) == set(bandwidth.COLUMNS) and row["heads"] == 1
        maps = {"forward": 4, "backward": 7}[row["pass"]]
        assert row["gb_per_second"] == pytest.approx(maps * 2 * 2 * 3 * 4 * 4 / row["ms"] / 1e6)
        assert row["over_copy"] > 0 and row["eager_speedup"] > 0 and row["reference_speedup"] > 0
    assert bandwidth.table(rows).count("2×2×3×4") == 2


def outcome(function, operator, x: Tensor) -> list[Tensor]:
    """The output and every gradient."""
    x = x.clone().requires_grad_()
    wanted = [x, *(parameter for name, parameter in operator.named_parameters() if "norm" not in name)]
    y = function(x)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return [y, *torch.autograd.grad(y, wanted, gradient.to(y.dtype))]
