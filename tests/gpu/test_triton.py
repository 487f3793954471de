"""The Triton kernels on a GPU. Nothing here has run yet, since no GPU was available."""

from __future__ import annotations

import pytest
import torch
from attention_cases import CASES, CL, GRID, NCHW, TOLERANCE, Case, attention, error, errors, results
from torch import Tensor

from benchmarks.gpu_check.variants import VARIANTS, use
from lightning_xvol import kernels
from lightning_xvol.kernels import triton
from lightning_xvol.operators import build_operator

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here"),
]
# Cases that only a GPU can test: loads of 16 bytes, many programs, several tiles per program, heads of 64 channels.
LARGE = [
    Case(form, size, 256, 4, stride, static=True, formats=(memory_format,) * 3, dtype=dtype, batch=8)
    for form in ("dot", "hadamard")
    for size in ((56, 56), (7, 7))
    for stride in (1, 2)
    for memory_format in (NCHW, CL)
    for dtype in (torch.float32, torch.bfloat16)
]


# The time of these tests goes into compiling, so `benchmarks.gpu_check` leaves the slow ones out.
@pytest.mark.parametrize("case", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in GRID)], ids=str)
def test_equal_to_the_literal_reference(case: Case) -> None:
    assert max(errors(case, DEVICE).values()) < TOLERANCE[case.dtype]


@pytest.mark.slow
@pytest.mark.parametrize(("memory_format", "stride"), [(NCHW, 2), (CL, 1)])
@pytest.mark.parametrize("form", ["dot", "hadamard"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_equal_to_the_literal_reference(
    variant: str, form: str, memory_format: torch.memory_format, stride: int
) -> None:
    case = Case(form, (17, 13), 12, 3, stride, static=True, formats=(memory_format,) * 3)
    with use(variant):
        assert max(errors(case, DEVICE).values()) < TOLERANCE[case.dtype]


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_equal_to_the_eager_path_and_the_same_every_time(case: Case) -> None:
    tensors = case.tensors(DEVICE)
    gradient = torch.randn(tensors[0].shape, device=DEVICE)
    once, again = (results(attention(case), tensors, gradient) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(once, again, strict=True))
    exact = [x.double() for x in tensors]
    with kernels.force("shifts"):
        expected = results(lambda *x: eager(case, *x), exact, gradient)
    assert max(error(x, y.cpu()) for x, y in zip(once, expected, strict=True)) < TOLERANCE[case.dtype]


def eager(case: Case, query: Tensor, key: Tensor, value: Tensor, weight: Tensor, static: Tensor) -> Tensor:
    """The eager path. `pssa` takes the bias, where the kernels take its product with the weight."""
    return kernels.pssa(case.spec, query, key, value, weight, static / weight)


@pytest.mark.parametrize("form", ["dot", "hadamard"])
def test_the_kernels_are_chosen_by_default(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = []
    function = getattr(triton, form)
    monkeypatch.setattr(triton, form, lambda *args: launched.append(form) or function(*args))
    operator = build_operator("pssa", 64, 128, form=form, position_encoding=True).to(DEVICE)
    x = torch.randn(2, 64, 14, 14, device=DEVICE)
    y = operator(x)
    assert launched == [form]
    with kernels.force("reference"):
        assert torch.allclose(y, operator(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("memory_format", [NCHW, CL])
@pytest.mark.parametrize("name", ["pssa", "xvolution"])
def test_compiles_to_one_graph(name: str, memory_format: torch.memory_format) -> None:
    operator = build_operator(name, 32, 64).to(DEVICE, memory_format=memory_format)
    compiled = torch.compile(operator, fullgraph=True)
    for size in [(14, 14), (9, 11)]:  # the second one makes the sizes dynamic
        x = torch.randn(2, 32, *size, device=DEVICE).contiguous(memory_format=memory_format)
        assert max(map(distance, gradients(compiled, operator, x), gradients(operator, operator, x))) < 1e-4


def test_compiles_with_cuda_graphs() -> None:
    operator = build_operator("pssa", 32, 64).to(DEVICE)
    compiled = torch.compile(operator, mode="reduce-overhead", fullgraph=True)
    x = torch.randn(2, 32, 14, 14, device=DEVICE)
    for _ in range(3):
        assert max(map(distance, gradients(compiled, operator, x), gradients(operator, operator, x))) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_near_float32(dtype: torch.dtype) -> None:
    operator = build_operator("pssa", 32, 64).to(DEVICE)
    x = torch.randn(2, 32, 14, 14, device=DEVICE)
    expected = gradients(operator.attend, operator, x)
    with torch.autocast(DEVICE, dtype):
        found = gradients(operator.attend, operator, x)
    assert max(map(distance, found, expected)) < 5e-2


def test_a_step_keeps_only_its_arguments() -> None:
    """Only the arguments are kept, and only results and small tables are allocated."""
    case = Case("hadamard", (56, 56), 256, dtype=torch.bfloat16, formats=(CL, CL, CL), batch=16)
    leaves = [x.requires_grad_() for x in case.tensors(DEVICE)[:4]]
    size = leaves[0].numel() * leaves[0].element_size()
    attention(case)(*leaves, None).sum().backward()  # compiles
    for x in leaves:
        x.grad = None
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y = attention(case)(*leaves, None)
    assert torch.cuda.max_memory_allocated() - before < 1.2 * size
    y.backward(torch.ones_like(y))
    assert torch.cuda.max_memory_allocated() - before < 6 * size  # y, its gradient, three gradients


def gradients(function, operator, x: Tensor) -> list[Tensor]:
    """The output, and every gradient of a random linear function of it."""
    x = x.clone().requires_grad_()
    y = function(x)
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.device, y.dtype)
    wanted = [x, *(parameter for name, parameter in operator.named_parameters() if "norm" not in name)]
    return [y.detach().clone(), *torch.autograd.grad(y, wanted, gradient)]


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-6))
