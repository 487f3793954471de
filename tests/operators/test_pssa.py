"""PSSA: fast paths against the literal reference, the reference against loops over pixels, and identities."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_xvol import kernels
from lightning_xvol.kernels import matrix
from lightning_xvol.kernels.spec import FORMS, Spec
from lightning_xvol.operators import build_operator
from lightning_xvol.operators.pssa import PSSA

FIVE = {"centre": True, "propagate": True, "shift_distances": (2, 1)}


def combinations() -> list[tuple[str, dict[str, Any]]]:
    """Every form with every option that it takes."""
    result: list[tuple[str, dict[str, Any]]] = []
    for name, form in FORMS.items():
        result += [(name, {}), (name, {"centre": True}), (name, {"propagate": True}), (name, FIVE)]
        if form.weight == "head":
            result += [(name, {"num_heads": 4})]
        if form.product:
            result += [(name, {"normalize": True, "num_heads": 3}), (name, {"normalize": False})]
        if form.takes_bias:
            result += [(name, {"position_encoding": True, "normalize": False})]
            result += [(name, {"position_encoding": True, "num_heads": 2, **FIVE})]
    return result


def build(form: str, stride: int = 1, in_channels: int = 6, out_channels: int = 12, **options: Any) -> PSSA:
    """A float64 PSSA without parameters of zeros."""
    torch.manual_seed(0)
    operator = build_operator("pssa", in_channels, out_channels, stride, form=form, **options).double()
    assert isinstance(operator, PSSA)
    for parameter in (operator.tap_bias, operator.propagation):
        if parameter is not None:
            nn.init.normal_(parameter)
    return operator


def results(operator: PSSA, x: Tensor, path: Any = None) -> dict[str, Tensor]:
    """The output before the batch norm and every gradient, on `path` or on the path that the size chooses."""
    operator, x = copy.deepcopy(operator), x.clone().requires_grad_()
    if path is None:
        y = operator.attend(x)
    else:
        with kernels.force(path):
            y = operator.attend(x)
    generator = torch.Generator().manual_seed(1)
    y.backward(torch.randn(y.shape, dtype=y.dtype, generator=generator))
    found = {"output": y.detach(), "input": x.grad}
    found |= {name: p.grad for name, p in operator.named_parameters() if not name.startswith("norm.")}
    assert all(tensor is not None for tensor in found.values())
    return found  # type: ignore[return-value]


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], where: str) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        error = (tensor - expected[name]).abs().max() / expected[name].abs().max().clamp_min(1e-6)
        assert error < 1e-10, f"{name} is off by {error:.1e} {where}"


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("form", "options"), combinations(), ids=str)
def test_fast_paths_equal_the_reference(form: str, options: dict[str, Any], stride: int) -> None:
    operator = build(form, stride, **options)
    for size in [(1, 1), (2, 13), (7, 6)]:
        x = torch.randn(2, 6, *size, dtype=torch.double)
        expected = results(operator, x, "reference")
        for path in ("matrix", "shifts", "gathered"):
            assert_equal(results(operator, x, path), expected, f"on {path} at {size}")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_path_chosen_by_size_equals_the_reference(form: str, stride: int) -> None:
    operator = build(form, stride, 4, 8)
    for size in [(10, 10), (10, 11), (14, 14), (14, 15)]:  # at and past the limits
        x = torch.randn(2, 4, *size, dtype=torch.double)
        assert_equal(results(operator, x), results(operator, x, "reference"), f"at {size}")


@pytest.mark.parametrize("position_encoding", [False, True])
def test_chunks_of_the_batch_change_nothing(monkeypatch: pytest.MonkeyPatch, position_encoding: bool) -> None:
    operator = build("dot", num_heads=4, position_encoding=position_encoding)
    x = torch.randn(5, 6, 3, 4, dtype=torch.double)
    expected = results(operator, x, "reference")
    for images in (1, 2, 5, 9):
        monkeypatch.setitem(matrix.CHUNK_ENTRIES, "cpu", images * 4 * 12 * 12)
        assert_equal(results(operator, x, "matrix"), expected, f"with {images} images a chunk")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_reference_equals_loops_over_pixels(form: str, stride: int) -> None:
    for options in [{}, {"centre": True}] + [{"normalize": True, "num_heads": 2}] * FORMS[form].product:
        operator = build(form, stride, 3, 4, shift_distances=(1, 3), **options)
        x = torch.randn(1, 3, 5, 4, dtype=torch.double)
        with torch.no_grad(), kernels.force("reference"):
            torch.testing.assert_close(operator.attend(x)[0], by_pixel(operator, x[0]), rtol=1e-12, atol=1e-12)


def by_pixel(operator: PSSA, x: Tensor) -> Tensor:
    """PSSA by the formulas of docs/paper.md, one position and one tap at a time: `[C_in, H, W]` to `[C, H', W']`."""
    spec, w = operator.spec, operator.tap_weight
    if spec.form == "softmax":
        return softmax_by_pixel(operator, x)
    height, width = x.shape[1:]
    taps = [(a * n, b * n) for n in spec.shift_distances for a, b in itertools.product((-1, 0, 1), repeat=2) if a or b]
    taps += [(0, 0)] * spec.centre
    rows, columns = range(0, height, operator.stride), range(0, width, operator.stride)
    y = x.new_zeros(operator.out_channels, len(rows), len(columns))
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        for tap, (down, right) in enumerate(taps):
            if 0 <= row + down < height and 0 <= column + right < width:
                here, there = x[:, row, column], x[:, row + down, column + right]
                y[:, i, j] += pixel_term(operator, here, there, w[:, tap])
    return y


def softmax_by_pixel(operator: PSSA, x: Tensor) -> Tensor:
    """Local attention at stride 1 or 2: `[C_in, H, W]` to `[C, H', W']`."""
    spec, heads = operator.spec, operator.spec.num_heads
    d, reach = operator.out_channels // heads, max(spec.shift_distances)
    padded = nn.functional.pad(x, (reach,) * 4)
    query, key, value = (conv.weight[:, :, 0, 0] for conv in (operator.query, operator.key, operator.value))
    y = x.new_zeros(operator.out_channels, *operator.output_size(*x.shape[1:]))
    for i, j in itertools.product(*map(range, y.shape[1:])):
        row, column = operator.stride * i, operator.stride * j
        there = torch.stack([padded[:, reach + row + a, reach + column + b] for a, b in spec.offsets], 1)  # [C_in, T]
        for head in range(heads):
            part = slice(head * d, head * d + d)
            q, k = query[part] @ x[:, row, column], key[part] @ there  # [d], [d, T]
            if spec.normalize:
                q = math.sqrt(d) * q / max(q.norm().item(), 1e-3)
                k = math.sqrt(d) * k / k.norm(dim=0).clamp_min(1e-3)
            logits = q @ k / math.sqrt(d) + operator.tap_weight[head]
            y[part, i, j] = value[part] @ there @ (logits.exp() / logits.exp().sum())
    return y


def pixel_term(operator: PSSA, here: Tensor, there: Tensor, w: Tensor) -> Tensor:
    spec, heads = operator.spec, operator.spec.num_heads
    q, k, v = (
        None if conv is None else conv.weight[:, :, 0, 0] @ pixel
        for conv, pixel in ((operator.query, here), (operator.key, there), (operator.value, there))
    )
    d = operator.out_channels // heads
    if spec.normalize:
        q, k = (torch.cat([math.sqrt(d) * part / max(part.norm().item(), 1e-3) for part in z.split(d)]) for z in (q, k))
    per_channel = w.repeat_interleave(d) if FORMS[spec.form].weight == "head" else w
    if spec.form == "dot":
        coefficient = torch.stack([a @ b for a, b in zip(q.split(d), k.split(d), strict=True)])
        return per_channel * (coefficient / (math.sqrt(d) if spec.normalize else 1)).repeat_interleave(d) * v
    product = v if q is None else q * k
    if FORMS[spec.form].weight == "dense":
        return w @ product
    return per_channel * product * (v if spec.form == "hadamard" else 1)


def test_hadamard_is_dot_with_a_channel_per_head() -> None:
    dot = build("dot", num_heads=12, normalize=False, position_encoding=True)
    hadamard = build("hadamard", normalize=False, position_encoding=True)
    hadamard.load_state_dict(dot.state_dict())
    x = torch.randn(2, 6, 9, 8, dtype=torch.double)
    torch.testing.assert_close(hadamard.attend(x), dot.attend(x), rtol=1e-10, atol=1e-10)


def test_position_bias_is_a_static_convolution_of_the_value() -> None:
    dot, static = build("dot", num_heads=4, position_encoding=True), build("static", num_heads=4)
    x = torch.randn(2, 6, 9, 8, dtype=torch.double)
    biased = dot.attend(x)
    with torch.no_grad():
        static.value.weight.copy_(dot.value.weight)
        static.tap_weight.copy_(dot.tap_weight * dot.tap_bias)
        dot.tap_bias.zero_()
    torch.testing.assert_close(biased, dot.attend(x) + static.attend(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("propagate", [False, True])
def test_stride_2_is_stride_1_subsampled(form: str, propagate: bool) -> None:
    whole, strided = (build(form, stride, propagate=propagate) for stride in (1, 2))
    for size in [(6, 7), (15, 16)]:
        x = torch.randn(2, 6, *size, dtype=torch.double)
        torch.testing.assert_close(strided.attend(x), whole.attend(x)[..., ::2, ::2], rtol=1e-10, atol=1e-10)


def test_normalised_products_are_cosines() -> None:
    operator = build("dot", num_heads=3)
    x = torch.randn(2, 6, 9, 8, dtype=torch.double)
    scaled = copy.deepcopy(operator)
    with torch.no_grad():
        scaled.query.weight.mul_(7)
        scaled.key.weight.mul_(0.2)
    torch.testing.assert_close(scaled.attend(x), operator.attend(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_controls_have_no_query_and_no_key(form: str) -> None:
    names = {name.split(".")[0] for name, _ in build(form).named_parameters()}
    product, value = FORMS[form].product, FORMS[form].value
    assert ("query" in names, "key" in names, "value" in names) == (product, product, value)


def test_softmax_has_the_parameters_of_dot_and_weighs_with_positive_numbers_that_sum_to_1() -> None:
    softmax, dot = build("softmax", num_heads=4), build("dot", num_heads=4)
    shapes = [{name: p.shape for name, p in operator.named_parameters()} for operator in (softmax, dot)]
    assert shapes[0] == shapes[1]
    x = torch.randn(1, 6, 13, 13, dtype=torch.double)
    with torch.no_grad():
        values, y = softmax.value(x), softmax.attend(x)
    inside = y[..., 5:8, 5:8]  # every tap is in the map: a mean of values
    assert (inside >= values.amin((2, 3), keepdim=True)).all() and (inside <= values.amax((2, 3), keepdim=True)).all()
    torch.nn.init.zeros_(softmax.query.weight)
    with torch.no_grad():
        softmax.tap_weight[:] = -1e9
        softmax.tap_weight[:, 0] = 0
        torch.testing.assert_close(softmax.attend(x)[..., 1:, 1:], values[..., :-1, :-1])


@pytest.mark.parametrize("path", ["reference", "matrix", "shifts"])
@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if form.product])
def test_frozen_query_and_key_stay_and_the_rest_learns(form: str, path: Any) -> None:
    operator = build(form, frozen_query_key=True)
    x = torch.randn(2, 6, 9, 8, dtype=torch.double, requires_grad=True)
    with kernels.force(path):
        y = operator(x)
        with torch.no_grad():
            assert torch.equal(y, build(form)(x)), "the same operator otherwise"
    y.square().sum().backward()
    learns = {name for name, parameter in operator.named_parameters() if parameter.grad is not None}
    assert learns == {name for name, _ in operator.named_parameters()} - {"query.weight", "key.weight"}
    assert x.grad is not None and x.grad.any()


@pytest.mark.parametrize("form", FORMS)
def test_initial_tap_weights_have_variance_1_over_fan_in(form: str) -> None:
    torch.manual_seed(0)
    weight = build_operator("pssa", 4, 192, form=form, **({"num_heads": 192} if FORMS[form].weight == "head" else {}))
    variance = weight.tap_weight.var().item() * (192 if FORMS[form].weight == "dense" else 1)
    assert variance == pytest.approx(1 / 24, rel=0.1)


def test_options_that_start_at_zero_change_nothing_at_first() -> None:
    x = torch.randn(2, 6, 9, 8)
    torch.manual_seed(0)
    plain = build_operator("pssa", 6, 12)
    torch.manual_seed(0)
    both = build_operator("pssa", 6, 12, position_encoding=True, propagate=True)
    torch.testing.assert_close(both(x), plain(x))


def test_each_branch_has_one_batch_norm() -> None:
    def norms(operator: nn.Module) -> int:
        return sum(isinstance(module, nn.BatchNorm2d) for module in operator.modules())

    assert norms(build_operator("pssa", 6, 12)) == 1
    assert norms(build_operator("xvolution", 6, 12)) == 2
    assert norms(build_operator("multi_convolution", 6, 12)) == 1


def test_xvolution_is_the_sum_of_its_branches() -> None:
    operator = build_operator("xvolution", 6, 12, num_heads=4).eval()
    x = torch.randn(2, 6, 9, 8)
    assert torch.equal(operator(x), operator.convolution(x) + operator.attention(x))


def test_a_fake_tensor_does_not_enter_the_cache() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        build_operator("pssa", 6, 12)(torch.randn(2, 6, 9, 4))
    build_operator("pssa", 6, 12)(torch.randn(2, 6, 9, 4)).sum().backward()


def test_tap_matrix_has_every_tap_where_it_leads() -> None:
    spec = Spec("dot", shift_distances=(1,), centre=True, stride=2)
    found = matrix.tap_matrix(torch.arange(1.0, 10.0)[None], spec, 3, 3)[0]  # [9, 4]
    # At the query in the corner only centre, right, below and diagonal lie inside.
    assert found[:, 0].tolist() == [9, 5, 0, 7, 8, 0, 0, 0, 0]


def test_force_refuses_an_unknown_path() -> None:
    with pytest.raises(ValueError, match="unknown path 'fast'"), kernels.force("fast"):  # type: ignore[arg-type]
        pass
