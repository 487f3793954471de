"""The weight gradient of live taps: equal to PyTorch's, taken only where the configuration's id says so."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_xvol.config import registry
from lightning_xvol.config.resolved import canonical, resolve
from lightning_xvol.config.schema import BackboneConfig, DataConfig, OperatorConfig, RunConfig, TrainConfig
from lightning_xvol.config.weight_gradient import has_live_taps
from lightning_xvol.kernels.live_taps import Grid, weight_gradient
from lightning_xvol.operators.spatial import SpatialConv2d, use_live_taps
from lightning_xvol.training.run import build_network

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30))


def literal(x: Tensor, grad: Tensor, size: int, grid: Grid) -> Tensor:
    """The gradient from its formula, position by position, in float64."""
    x, grad = x.double(), grad.double()
    result = torch.zeros(grad.shape[1], x.shape[1], size, size, dtype=torch.float64)
    for row, column, i, j in itertools.product(range(grad.shape[2]), range(grad.shape[3]), range(size), range(size)):
        down = grid.stride * row + grid.dilation * i - grid.padding
        right = grid.stride * column + grid.dilation * j - grid.padding
        if 0 <= down < x.shape[2] and 0 <= right < x.shape[3]:
            result[:, :, i, j] += torch.einsum("bo,bc->oc", grad[:, :, row, column], x[:, :, down, right])
    return result


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("size", "dilation"), [(5, 2), (3, 2), (7, 2), (9, 1), (3, 1)])
@pytest.mark.parametrize("side", [(1, 1), (2, 3), (4, 4), (7, 7), (8, 5)])
def test_the_gradient_is_that_of_the_formula(size, dilation, stride, side, memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    grid = Grid(stride, dilation * (size // 2), dilation)
    x = torch.randn(3, 5, *side, generator=generator, dtype=torch.float64)
    grad = torch.randn(3, 4, *(-(-length // stride) for length in side), generator=generator, dtype=torch.float64)
    expected = literal(x, grad, size, grid)
    for dtype, bound in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        given = (z.to(dtype).contiguous(memory_format=FORMATS[memory_format]) for z in (x, grad))
        assert relative(weight_gradient(*given, size, grid), expected) < bound


def pair(memory_format: str = "channels_last", **changes: Any) -> tuple[SpatialConv2d, SpatialConv2d, Tensor]:
    """A convolution that takes live taps, the same one without, and an input."""
    torch.manual_seed(0)
    live = SpatialConv2d(64, 6, 5, dilation=2, **changes).to(memory_format=FORMATS[memory_format])
    plain = copy.deepcopy(live)
    use_live_taps(plain, False)
    x = torch.randn(2, 64, 6, 5).contiguous(memory_format=FORMATS[memory_format])
    assert live.takes_live_taps(x, live.weight) and not plain.takes_live_taps(x, plain.weight)
    return live, plain, x


@pytest.mark.parametrize("memory_format", FORMATS)
def test_output_and_input_gradient_are_those_of_pytorch_to_the_bit(memory_format) -> None:
    live, plain, x = pair(memory_format)
    results = []
    for convolution in (live, plain):
        given = x.clone().requires_grad_()
        y = convolution(given)
        y.square().sum().backward()
        results.append((y, given.grad, convolution.weight.grad))
    (y, grad_x, grad), (expected, expected_x, expected_grad) = results
    assert torch.equal(y, expected) and torch.equal(grad_x, expected_x)
    assert relative(grad, expected_grad) < 1e-5
    assert grad.stride() == live.weight.stride(), "optimizers expect the layout of the weight"
    again = copy.deepcopy(live)
    again.weight.grad = None
    again(x).square().sum().backward()
    assert torch.equal(again.weight.grad, grad), "the same every time, or no run would resume exactly"


@pytest.mark.parametrize("memory_format", FORMATS)
def test_in_bfloat16_the_gradient_is_as_near_to_the_exact_one_as_that_of_pytorch(memory_format) -> None:
    live, plain, x = pair(memory_format)
    use_live_taps(live, False, bfloat16=True)
    x = x.bfloat16().float()  # exact in both types
    with torch.no_grad():
        live.weight.copy_(live.weight.bfloat16())
        plain.weight.copy_(live.weight)
    exact = copy.deepcopy(plain).double()
    exact(x.double()).sum().backward()
    grads = []
    for form in (live, plain):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert form.takes_live_taps(given, form.weight) == (form is live)
            y = form(given)
        y.sum().backward()
        assert y.dtype == torch.bfloat16 and form.weight.grad.dtype == torch.float32
        grads.append((y, given.grad, form.weight.grad))
    assert torch.equal(grads[0][0], grads[1][0]) and torch.equal(grads[0][1], grads[1][1])
    # One rounding to bfloat16, which has 8 bits, of a sum in float32.
    assert torch.allclose(grads[0][2].double(), exact.weight.grad, rtol=2**-8, atol=1e-3)
    assert grads[0][2].stride() == live.weight.stride()


def test_only_its_own_autocast_takes_live_taps_in_bfloat16() -> None:
    live, _, x = pair()
    use_live_taps(live, False, bfloat16=True)
    assert not live.takes_live_taps(x, live.weight)
    with torch.autocast("cpu", dtype=torch.float16):
        assert not live.takes_live_taps(x, live.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        double = copy.deepcopy(live).double()
        assert not double.takes_live_taps(x.double(), double.weight)
        use_live_taps(double, True)
        assert double.takes_live_taps(x.double(), double.weight) and double(x.double()).dtype == torch.float64


def test_what_the_fast_form_cannot_do_is_done_by_pytorch() -> None:
    live, plain, x = pair()
    weight = live.weight.detach()

    def loss(form: nn.Module, weight: Tensor) -> Tensor:
        return torch.func.functional_call(form, {"weight": weight}, (x,)).tanh().sum()

    # Second derivatives, where the first backward pass has taken live taps.
    hessians = []
    for form in (live, plain):
        leaf = weight.clone().requires_grad_()
        [first] = torch.autograd.grad(loss(form, leaf), leaf, create_graph=True)
        hessians.append(torch.autograd.grad(first.square().sum(), leaf)[0])
    assert relative(hessians[0], hessians[1]) < 1e-5
    # Forward mode, vmap and `torch.func.grad`.
    tangent = torch.randn_like(weight)
    forward = [torch.func.jvp(lambda w, form=form: loss(form, w), (weight,), (tangent,))[1] for form in (live, plain)]
    assert torch.equal(*forward)
    weights = torch.stack([weight, 2 * weight])
    several = [torch.func.vmap(torch.func.grad(lambda w, form=form: loss(form, w)))(weights) for form in (live, plain)]
    assert torch.equal(*several)
    # Autocast, also when only the backward pass runs under it.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not live.takes_live_taps(x, live.weight)
        y = live(x)
        assert y.dtype == torch.bfloat16
    y = live(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y.square().sum().backward()
    plain(x).square().sum().backward()
    assert relative(live.weight.grad, plain.weight.grad) < 1e-5
    # Exports and traces hold PyTorch's convolution.
    exported = torch.export.export(live, (x,))
    assert "conv2d" in str(exported.graph) and "LiveTap" not in str(exported.graph)
    assert "PythonOp" not in str(torch.jit.trace(live, x).graph)
    with torch.no_grad():
        assert not live.takes_live_taps(x, live.weight)


def test_a_convolution_that_somebody_has_changed_computes_as_changed() -> None:
    for name, value in {"stride": (2, 1), "padding": (0, 0), "dilation": (1, 2), "padding_mode": "circular"}.items():
        live, _, x = pair()
        setattr(live, name, value)
        assert not live.takes_live_taps(x, live.weight), name
    live, _, x = pair()
    live.bias = nn.Parameter(torch.ones(6))
    live(x).sum().backward()
    assert torch.equal(live.bias.grad, torch.full((6,), 60.0))
    frozen, _, x = pair()
    frozen.weight.requires_grad_(False)
    y = frozen(x.requires_grad_())
    y.sum().backward()
    assert torch.equal(y, F.conv2d(x, frozen.weight, None, 1, 4, 2)) and x.grad is not None


SIDES = {"match": ("canvas", (24, 32, 64)), "attention_maps": ("size", (4, 8, 16)), "imagenet": ("image_size", (64,))}
SMALL = {"widths": (4, 4, 8, 8), "stem_width": 4}


def configurations() -> list[RunConfig]:
    """Operators, kernels, networks, places, sizes and memory formats, on networks that are small enough to run."""
    found = []
    shapes: list[tuple[BackboneConfig, str]] = [
        (BackboneConfig("small_resnet", stages=stages, stride_in_1x1=inside, options=SMALL | options), "match")
        for stages, inside, options in (
            ((3, 4, 5), True, {}), ((3,), True, {}), ((5,), False, {}), ((2,), False, {"stem_pool": True}),
            ((4, 5), True, {"block": "basic", "strides": (2, 1, 3, 2)}),
        )
    ]  # fmt: skip
    shapes += [
        (BackboneConfig("small_resnet", stages=(2, 3, 4, 5), places="every", options=SMALL), "match"),
        (BackboneConfig("small_vgg13", stages=(4,), options={"widths": (4,) * 5}), "match"),
        (BackboneConfig("stack", stages=(5,)), "attention_maps"),
        (BackboneConfig("resnet18", stages=(5,)), "imagenet"),
    ]
    kernels: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in registry.OPERATORS]
    kernels += [("convolution", {"kernel_size": 9}), ("xvolution", {"dilated_kernel_size": None, "kernel_size": 7})]
    kernels += [("multi_convolution", {"dilated_kernel_size": 3}), ("wide_convolution", {"kernel_size": 9})]
    for (backbone, data), (name, options), layout in itertools.product(shapes, kernels, FORMATS):
        if backbone.name == "resnet18" and name not in ("convolution", "xvolution", "multi_convolution"):
            continue
        option, sides = SIDES[data]
        for side in sides:
            found.append(
                RunConfig(
                    operator=OperatorConfig(name, options),
                    backbone=backbone,
                    data=DataConfig(data, options={option: side}),
                    train=TrainConfig(memory_format=layout),
                )
            )
    return found


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("value", ["plain", "live_taps", "live_taps_bfloat16"])
@pytest.mark.parametrize("step", [21, pytest.param(1, marks=pytest.mark.slow)])
def test_an_id_tells_live_taps_exactly_where_a_network_takes_them(monkeypatch, step, value, precision) -> None:
    taken: list[bool] = []
    decide = SpatialConv2d.takes_live_taps

    def watched(self: SpatialConv2d, x: Tensor, weight: Tensor) -> bool:
        taken.append(decide(self, x, weight))
        return taken[-1]

    monkeypatch.setattr(SpatialConv2d, "takes_live_taps", watched)
    seen = set()
    for config in configurations()[::step]:
        train = dataclasses.replace(config.train, weight_gradient=value, precision=precision)
        config = resolve(dataclasses.replace(config, train=train))
        channels = config.data.options.get("channels", 3 if config.data.name == "imagenet" else 1)
        network = build_network(config, num_classes=2, in_channels=channels)
        side = config.data.options[SIDES[config.data.name][0]]
        x = torch.randn(2, channels, side, side).contiguous(memory_format=FORMATS[config.train.memory_format])
        taken.clear()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            network(x)
        assert any(taken) == has_live_taps(config), (config.operator, config.backbone, config.data, config.train)
        assert ("weight_gradient" in canonical(config)["train"]) == any(taken)
        seen.add(any(taken))
    assert seen == ({True, False} if (value, precision) in TAKES else {False})


TAKES = {("live_taps", "32-true"), ("live_taps_bfloat16", "bf16-mixed")}
