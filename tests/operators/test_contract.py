"""The contract of every operator. `pytest tests/operators --operator package.module:Class` runs it on yours."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

SIZES = [(n, n) for n in range(1, 18)] + [(1, 17), (17, 1), (3, 14), (2, 5), (20, 11)]
CHANNELS = [(6, 12), (5, 20), (8, 8), (3, 1)]


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Equal to within `tolerance` of the largest entry."""
    return bool((a - b).abs().max() <= tolerance * b.abs().max().clamp_min(1e-3))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", CHANNELS, ids=str)
def test_size_is_that_of_a_padded_convolution(case: Any, channels: tuple[int, int], stride: int) -> None:
    operator = case.build(*channels, stride).eval()
    convolution = nn.Conv2d(*channels, 3, stride, padding=1)
    for size in SIZES:
        x = torch.randn(2, channels[0], *size)
        with torch.no_grad():
            y = operator(x)
            assert y.shape == convolution(x).shape, f"at {size}"
        assert y.isfinite().all(), f"not finite at {size}"


@pytest.mark.parametrize("stride", [1, 2])
def test_every_parameter_learns(case: Any, stride: int) -> None:
    for size in [(1, 1), (1, 2), (4, 3), (13, 13), (17, 14)]:
        operator = case.build(stride=stride)
        y = operator(torch.randn(3, 6, *size))
        (y * torch.randn_like(y)).sum().backward()
        for name, parameter in operator.named_parameters():
            assert parameter.grad is not None, f"{name} at {size}"
            assert parameter.grad.isfinite().all(), f"{name} at {size}"
            if min(size) >= 13:
                assert parameter.grad.any(), f"{name} has a zero gradient at {size}"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_every_dtype_gives_the_result_of_float32(case: Any, dtype: torch.dtype) -> None:
    tolerance = {torch.float64: 1e-5, torch.bfloat16: 0.1, torch.float16: 0.02}[dtype]
    for stride, size in [(1, (7, 6)), (2, (15, 16))]:
        operator, x = case.build(stride=stride).eval(), torch.randn(2, 6, *size)
        y = copy.deepcopy(operator).to(dtype)(x.to(dtype))
        assert y.dtype == dtype
        assert close(y.float(), operator(x), tolerance), f"differs from float32 at {size}, stride {stride}"
        y.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_gives_the_result_of_float32(case: Any, dtype: torch.dtype) -> None:
    for size in [(7, 6), (15, 16)]:
        operator, x = case.build(), torch.randn(2, 6, *size)
        expected = operator(x)
        with torch.autocast("cpu", dtype):
            y = operator(x)
        assert y.dtype == dtype
        assert close(y.float(), expected, 0.1), f"differs from float32 at {size}"
        y.float().sum().backward()


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1e4, None), (1e-4, None), (1e4, torch.bfloat16), (300, torch.float16)], ids=str
)
def test_large_and_small_inputs_stay_finite(case: Any, scale: float, dtype: torch.dtype | None) -> None:
    if case.name == "self_attention" and case.options.get("softmax") is False and dtype == torch.float16:
        pytest.skip("a normalised zero has a gradient of 1 / eps, which overflows without a batch norm behind it")
    operator, x = case.build(), scale * torch.randn(2, 6, 9, 8, requires_grad=True)
    x[:, :, :4] = 0  # like the padding region of a detection batch
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        y = operator(x)
    y.float().sum().backward()
    assert y.isfinite().all()
    for name, parameter in operator.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_channels_last_stays_channels_last(case: Any) -> None:
    for stride, size in [(1, (7, 6)), (2, (15, 16))]:
        operator, x = case.build(stride=stride).double().eval(), torch.randn(2, 6, *size, dtype=torch.double)
        expected = operator(x)
        y = operator.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        assert y.is_contiguous(memory_format=torch.channels_last), f"at {size}, stride {stride}"
        assert close(y, expected, 1e-10), f"at {size}, stride {stride}"
        assert expected.is_contiguous(), f"contiguous in, contiguous out at {size}, stride {stride}"


def test_input_is_left_alone(case: Any) -> None:
    x = torch.randn(2, 6, 8, 7)
    before = x.clone()
    case.build()(x)
    assert torch.equal(x, before)


def test_copies_are_independent_and_state_dicts_restore(case: Any) -> None:
    operator, x = case.build().eval(), torch.randn(2, 6, 8, 7)
    expected = operator(x)
    state = {name: tensor.clone() for name, tensor in operator.state_dict().items()}
    twin = copy.deepcopy(operator)
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.zero_()
    assert torch.equal(twin(x), expected), "the copy shares parameters"
    operator.load_state_dict(state)
    assert torch.equal(operator(x), expected)


def test_a_trained_operator_runs_at_another_size(case: Any) -> None:
    operator = case.build().train()
    operator(torch.randn(2, 6, 8, 8))
    keys = list(operator.state_dict())
    for size in [(5, 9), (16, 16)]:
        operator.eval()(torch.randn(2, 6, *size))
    assert list(operator.state_dict()) == keys
    fresh = case.build()
    fresh(torch.randn(2, 6, 16, 16))
    fresh.load_state_dict(operator.state_dict())


def test_training_works_after_validation(case: Any) -> None:
    operator = case.build()
    for size in [(6, 11), (16, 15)]:  # sizes that no other test has put into a cache
        x = torch.randn(2, 6, *size)
        with torch.inference_mode():
            operator.eval()(x)
        operator.train()(x).sum().backward()


def test_gradients_have_the_same_bits_every_time(case: Any) -> None:
    x = torch.randn(4, 6, 8, 8)
    results = []
    for _ in range(2):
        operator = case.build()
        operator(x).square().sum().backward()
        results.append([parameter.grad for parameter in operator.parameters()])
    for first, second in zip(*results, strict=True):
        assert torch.equal(first, second)


def test_compiles_to_one_graph(case: Any) -> None:
    for stride, size in [(1, (7, 6)), (2, (15, 16))]:
        torch._dynamo.reset()
        operator, x = case.build(stride=stride), torch.randn(2, 6, *size)
        expected = copy.deepcopy(operator)(x)
        y = torch.compile(operator, fullgraph=True, backend="eager")(x)
        assert close(y, expected, 1e-5), f"at {size}, stride {stride}"
        y.sum().backward()


def test_exports_with_dynamic_sizes(case: Any) -> None:
    operator = case.build(stride=2).eval()
    sides = {2: torch.export.Dim("H", min=4, max=128), 3: torch.export.Dim("W", min=4, max=128)}
    program = torch.export.export(operator, (torch.randn(2, 6, 14, 12),), dynamic_shapes=(sides,)).module()
    for size in [(14, 12), (7, 9), (21, 16)]:
        x = torch.randn(2, 6, *size)
        assert close(program(x), operator(x), 1e-5), f"at {size}"
