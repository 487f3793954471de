"""Every operator that can be fused: equal outputs, no norms and no branches left, and Eq. 9 to the letter."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from fusion_tools import CASES, error, name_of, trained
from torch import Tensor, nn

from lightning_xvol import AtomicXVolution, fuse
from lightning_xvol.config import registry
from lightning_xvol.errors import UserError
from lightning_xvol.fusion.folds import FOLDS, KEPT
from lightning_xvol.operators import build_operator

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def fused(operator: nn.Module) -> AtomicXVolution:
    atomic = fuse(operator)
    assert isinstance(atomic, AtomicXVolution)
    return atomic


def test_every_registered_operator_has_a_fold_and_a_case() -> None:
    classes = {name: registry.load("operator", name) for name in registry.OPERATORS}
    assert set(classes.values()) <= {*FOLDS, *KEPT}
    folded = {name for name, kind in classes.items() if kind in FOLDS and FOLDS[kind].alone}
    assert folded == {name for name, _ in CASES}


@pytest.mark.parametrize("name", [name for name in registry.OPERATORS if registry.load("operator", name) in KEPT])
def test_controls_without_an_atomic_form_stay_as_they_are(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(build_operator(name, 6, 6), build_operator("xvolution", 6, 12)).double().eval()
    atomic, x = fuse(model), torch.randn(2, 6, 9, 8, dtype=torch.double)
    assert type(atomic[0]) is type(model[0]) and isinstance(atomic[1], AtomicXVolution)
    assert error(atomic(x), model(x)) < 1e-12
    with pytest.raises(UserError, match="holds no operator to fuse"):
        fuse(model[0])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("name", "options"), CASES, ids=name_of)
def test_outputs_are_equal(name: str, options: dict[str, Any], stride: int) -> None:
    operator = trained(name, stride, **options)
    for dtype, tolerance in TOLERANCES.items():
        unfused = copy.deepcopy(operator).to(dtype)
        atomic = fused(unfused)
        assert {parameter.dtype for parameter in atomic.parameters()} == {dtype}
        for size in [(1, 1), (9, 8)] + [(16, 15)] * (dtype == torch.float64):
            x = torch.randn(2, 6, *size).to(dtype)
            assert error(atomic(x), unfused(x)) < tolerance, f"in {dtype} at {size}"


@pytest.mark.parametrize("channels", [(8, 8), (12, 4), (3, 1)], ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("xvolution", {}),
        ("xvolution", {"form": "static_dense"}),
        ("pssa", {"form": "static_dense"}),
        ("xvolution_sa", {}),
        ("xvolution_inv", {}),
    ],
    ids=name_of,
)
def test_outputs_are_equal_at_other_channels(name: str, options: dict[str, Any], channels: tuple[int, int]) -> None:
    operator = trained(name, channels=channels, **options)
    atomic, x = fused(operator), torch.randn(2, channels[0], 5, 6, dtype=torch.double)
    assert error(atomic(x), operator(x)) < 1e-12
    if name != "pssa":  # each of its 3x3 kernels has a zero in the middle, which its formula does not count
        assert atomic.macs(14, 14) <= operator.macs(14, 14)
    with torch.no_grad():
        assert error(by_kernels(atomic, x[0]), atomic(x)[0]) < 1e-10


@pytest.mark.parametrize(("name", "options"), CASES, ids=name_of)
def test_the_fused_operator_is_one_module_without_norms(name: str, options: dict[str, Any]) -> None:
    operator = trained(name, **options)
    before = copy.deepcopy(operator.state_dict())
    atomic = fused(operator)
    assert list(atomic.modules()) == [atomic]
    assert not atomic.training
    assert list(atomic.state_dict()) == [*(name for name, _ in atomic.named_parameters()), "fused"]
    assert sum(p.numel() for p in atomic.parameters()) <= sum(p.numel() for p in operator.parameters())
    for size in [(9, 8), (14, 14)]:
        assert atomic.macs(*size) <= operator.macs(*size)
    assert all(torch.equal(tensor, before[key]) for key, tensor in operator.state_dict().items()), "the model changed"


def by_kernels(atomic: AtomicXVolution, x: Tensor) -> Tensor:
    """Eq. 9 to the letter, position by position: `[C_in, H, W]` to `[C_out, H', W']`."""
    height, width = x.shape[1:]
    rows, columns = atomic.output_size(height, width)
    y = x.new_zeros(atomic.out_channels, rows, columns)
    for row in range(rows):
        for column in range(columns):
            weight, bias = atomic.kernel(x, (row, column))
            y[:, row, column] = bias
            for tap, (down, right) in enumerate(atomic.offsets(x, (row, column))):
                i, j = atomic.stride * row + down, atomic.stride * column + right
                if 0 <= i < height and 0 <= j < width:
                    y[:, row, column] += weight[:, :, tap] @ x[:, i, j]
    return y


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("name", "options"), CASES, ids=name_of)
def test_kernels_summed_over_the_input_are_the_output(name: str, options: dict[str, Any], stride: int) -> None:
    atomic = fused(trained(name, stride, (3, 12), **options))
    x = torch.randn(3, 5, 4, dtype=torch.double)
    with torch.no_grad():
        assert error(by_kernels(atomic, x), atomic(x[None])[0]) < 1e-10


def test_the_default_has_49_positions() -> None:
    offsets = fused(trained("xvolution", num_heads=4)).offsets()
    assert len(offsets) == len(set(offsets)) == 49
    assert max(max(map(abs, offset)) for offset in offsets) == 5
    assert len(fused(trained("xvolution", centre=True)).offsets()) == 49, "both convolutions have the centre"
    assert len(fused(trained("multi_convolution")).offsets()) == 33
    assert len(fused(trained("pssa")).offsets()) == 24


def test_kernels_take_one_image_and_a_position_inside() -> None:
    atomic = fused(trained("xvolution", 2))
    x = torch.randn(1, 6, 5, 4, dtype=torch.double, requires_grad=True)
    weight, bias = atomic.kernel(x, (2, 1))
    assert weight.shape == (12, 6, 49) and bias.shape == (12,)
    weight.sum().backward()
    assert x.grad is not None and x.grad[:, :, 4, 2].all()
    with pytest.raises(UserError, match=r"position=\(3, 0\) is outside the output of 3 x 2"):
        atomic.kernel(x, (3, 0))
    with pytest.raises(UserError, match=r"one image \[6, H, W\], got \(2, 6, 5, 4\)"):
        atomic.kernel(torch.randn(2, 6, 5, 4), (0, 0))


def statics(name: str, **options: Any) -> dict[str, tuple[int, ...]]:
    atomic = fused(trained(name, **options))
    return {name: tuple(tensor.shape[2:]) for name, tensor in atomic.named_parameters() if name.startswith("static_")}


def test_kernels_merge_only_where_no_tap_is_added() -> None:
    assert statics("multi_convolution") == {"static_1": (3, 3), "static_2": (5, 5)}
    assert statics("multi_convolution", kernel_size=1) == {"static_2": (5, 5)}
    assert statics("multi_convolution", kernel_size=9) == {"static_1": (9, 9)}
    assert statics("multi_convolution", kernel_size=7) == {"static_1": (7, 7), "static_2": (5, 5)}
    assert statics("multi_convolution", dilated_kernel_size=1) == {"static_1": (3, 3)}
    # The dense control consists of convolutions of the input. Its 3x3 goes into that of the branch, the others stay.
    assert statics("xvolution", form="static_dense") == {
        "static_1": (3, 3),
        "static_2": (5, 5),
        "static_3": (3, 3),
        "static_5": (3, 3),
    }


def test_static_parts_leave_the_attention() -> None:
    # The 3x3 has the taps of distance 1, the 5x5 of dilation 2 those of distance 2. No kernel has those of distance 5.
    atomic = fused(trained("xvolution", form="static_channel", shift_distances=(1, 5, 2), centre=True))
    assert atomic.term.spec.shift_distances == (5,) and not atomic.term.spec.centre
    assert atomic.tap_weight.shape == (12, 8)
    assert fused(trained("xvolution", form="static", shift_distances=(1, 2))).term is None
    biased = {"position_encoding": True, "num_heads": 3}
    assert "tap_bias" not in dict(fused(trained("xvolution", shift_distances=(1, 2), **biased)).named_parameters())
    assert "tap_bias" in dict(fused(trained("xvolution", **biased)).named_parameters())


def test_projections_are_stacked() -> None:
    assert fused(trained("pssa")).projection.shape == (36, 6, 1, 1)
    strided = fused(trained("pssa", 2))
    assert strided.projection.shape == (24, 6, 1, 1) and strided.query.shape == (12, 6, 1, 1)


def test_without_attention_it_is_the_folded_convolution() -> None:
    operator = trained("xvolution")
    with torch.no_grad():
        operator.attention.value.weight.zero_()
        operator.attention.norm.bias.copy_(
            operator.attention.norm.weight * operator.attention.norm.running_mean
            / (operator.attention.norm.running_var + operator.attention.norm.eps).sqrt()
        )  # fmt: skip
    x = torch.randn(2, 6, 9, 8, dtype=torch.double)
    assert error(fuse(operator)(x), fuse(operator.convolution)(x)) < 1e-12


def test_a_fused_xvolution_is_no_static_convolution() -> None:
    """The abstract says "a single standard convolution". That would be additive."""
    atomic = fused(trained("xvolution", num_heads=4))
    x, y = torch.randn(2, 1, 6, 9, 8, dtype=torch.double)
    zero = atomic(torch.zeros_like(x))
    gap = error(atomic(x + y) - zero, atomic(x) - zero + atomic(y) - zero)
    assert gap > 0.1
    static = fused(trained("xvolution", form="static"))
    zero = static(torch.zeros_like(x))
    assert error(static(x + y) - zero, static(x) - zero + static(y) - zero) < 1e-12


def test_raw_products_have_degree_3() -> None:
    atomic = fused(trained("pssa", normalize=False))
    x = torch.randn(1, 6, 9, 8, dtype=torch.double)
    zero = atomic(torch.zeros_like(x))
    assert error(atomic(2 * x) - zero, 8 * (atomic(x) - zero)) < 1e-12


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("xvolution", {}),
        ("xvolution", {"form": "static_dense"}),
        ("pssa", {}),
        ("xvolution_sa", {"position_encoding": True}),
        ("xvolution_inv", {}),
        ("aa_convolution", {}),
    ],
    ids=name_of,
)
def test_compiles_exports_and_keeps_the_memory_format(name: str, options: dict[str, Any]) -> None:
    operator = trained(name, 2, **options).float().to(memory_format=torch.channels_last)
    atomic, x = fused(operator), torch.randn(2, 6, 14, 12).contiguous(memory_format=torch.channels_last)
    y = atomic(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in atomic.parameters() if p.dim() == 4)
    torch._dynamo.reset()
    assert error(torch.compile(atomic, fullgraph=True, backend="eager")(x), y) < 1e-5
    sides = {2: torch.export.Dim("H", min=4, max=128), 3: torch.export.Dim("W", min=4, max=128)}
    program = torch.export.export(atomic, (x,), dynamic_shapes=(sides,)).module()
    other = torch.randn(2, 6, 9, 11)
    assert error(program(other), operator(other)) < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_near_the_unfused_operator(dtype: torch.dtype) -> None:
    for name in ("xvolution", "pssa", "xvolution_sa", "xvolution_inv", "aa_convolution"):
        operator = trained(name).float()
        atomic, x = fused(operator), torch.randn(2, 6, 9, 8)
        with torch.autocast("cpu", dtype):
            assert error(atomic(x), operator(x)) < 2e-2
        half = fused(copy.deepcopy(operator).to(dtype))(x.to(dtype))
        assert half.dtype == dtype
        assert error(half.float(), operator(x)) < 5e-2


def test_an_untrained_batch_norm_folds_only_its_eps() -> None:
    operator = build_operator("multi_convolution", 4, 4).eval()
    atomic = fused(operator)
    torch.testing.assert_close(atomic.static_1, operator.conv.weight / (1 + 1e-5) ** 0.5)
    assert not atomic.bias.any()
