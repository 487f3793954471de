"""Operators by name: constructors, defaults, import paths, and the messages for wrong arguments."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

import lightning_xvol
from lightning_xvol.config import registry
from lightning_xvol.errors import UserError
from lightning_xvol.operators import OPERATORS, build_operator
from lightning_xvol.operators.checks import group_count, head_count
from lightning_xvol.operators.pssa import PSSA
from lightning_xvol.operators.xvolution import XVolution


@pytest.mark.parametrize("name", OPERATORS)
def test_constructor_and_registry_agree(name: str) -> None:
    operator, options = registry.load("operator", name), OPERATORS[name].options
    parameters = list(inspect.signature(operator).parameters.values())
    assert [parameter.name for parameter in parameters[:3]] == ["in_channels", "out_channels", "stride"]
    assert all(parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) for parameter in parameters[2:])
    keywords = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    own = {parameter.name: parameter.default for parameter in keywords}
    assert own.pop("stride") == 1 and own.items() <= options.items()
    torch.manual_seed(0)
    plain = operator(6, 12)
    for option, value in options.items():  # also an option that the constructor passes on to a branch
        torch.manual_seed(0)
        same = operator(6, 12, **{option: value})
        assert repr(same) == repr(plain), f"{option}={value} is no default"
        for tensor, expected in zip(same.state_dict().values(), plain.state_dict().values(), strict=True):
            assert torch.equal(tensor, expected), f"{option}={value} is no default"


@pytest.mark.parametrize("name", OPERATORS)
def test_constructor_refuses_an_option_that_the_registry_lacks(name: str) -> None:
    with pytest.raises((TypeError, UserError), match="kernel_siz"):
        registry.load("operator", name)(6, 12, kernel_siz=3)


@pytest.mark.parametrize("operator", [PSSA, XVolution])
def test_pssa_options_are_named_in_direct_construction(operator: Any) -> None:
    assert operator(16, 16, form="hadamard").__class__ is operator
    with pytest.raises(
        UserError,
        match=rf"^{operator.__name__} has no option 'frm' \(did you mean 'form'\?\); it has: .*form, shift_dist",
    ):
        operator(16, 16, frm="dot")


@pytest.mark.parametrize("name", ["xvolution", "xvolution_sa", "xvolution_inv", "paired_convolution"])
def test_an_option_of_either_branch_is_suggested(name: str) -> None:
    operator = registry.load("operator", name)
    for wrong, right in [("kernel_siz", "kernel_size"), ("dilated_kernel_siz", "dilated_kernel_size")]:
        with pytest.raises(UserError, match=rf"^{operator.__name__} has no option '{wrong}' .*did you mean '{right}'"):
            operator(16, 16, **{wrong: 5})


@pytest.mark.parametrize("name", OPERATORS)
def test_options_may_be_plain_values_as_from_yaml(name: str) -> None:
    options = {
        key: list(value) if isinstance(value, tuple) else value for key, value in OPERATORS[name].options.items()
    }
    build_operator(name, 4, 8, **options)


class Foreign(nn.Conv2d):
    """An operator that is not ours."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, size: int = 3) -> None:
        super().__init__(in_channels, out_channels, size, stride, size // 2)


def test_an_import_path_builds_a_foreign_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "somebody", sys.modules[__name__])
    operator = build_operator("somebody:Foreign", 3, 5, stride=2, size=5)
    assert operator(torch.randn(1, 3, 7, 7)).shape == (1, 5, 4, 4)
    with pytest.raises(UserError, match="unexpected keyword argument 'sise'"):
        build_operator("somebody:Foreign", 3, 5, sise=5)
    with pytest.raises(UserError, match=r"cannot import operator 'somebody:Nothing'"):
        build_operator("somebody:Nothing", 3, 5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("psa", {}, "unknown operator 'psa' (did you mean 'pssa'?)"),
        ("pssa", {"distances": (1,)}, "no option 'distances'"),
        ("pssa", {"form": "dots"}, "unknown form 'dots' (did you mean 'dot'?); known: dot, hadamard"),
        ("pssa", {"num_heads": 5}, "num_heads=5 does not divide out_channels=12"),
        ("self_attention", {"num_heads": 7}, "num_heads=7 does not divide out_channels=12"),
        ("pssa", {"head_channels": 5}, "head_channels=5 does not divide out_channels=12"),
        ("xvolution", {"head_channels": 4, "num_heads": 3}, "num_heads=3 and head_channels=4 both choose the heads"),
        ("pssa", {"num_heads": 0}, "num_heads must be a positive integer, got 0"),
        ("pssa", {"num_heads": 4, "form": "static_channel"}, "num_heads=4 does nothing with form='static_channel'"),
        ("pssa", {"num_heads": 4, "form": "hadamard", "normalize": False}, "num_heads=4 does nothing"),
        ("pssa", {"normalize": True, "form": "static"}, "form='static' has neither"),
        ("pssa", {"normalize": 1}, "normalize must be true or false, got 1"),
        ("pssa", {"position_encoding": True, "form": "static"}, "has no product"),
        ("pssa", {"position_encoding": True, "form": "dense"}, "has no value"),
        ("pssa", {"position_encoding": True, "form": "softmax"}, "form='softmax' adds a weight per tap to the product"),
        ("pssa", {"frozen_query_key": True, "form": "static"}, "form='static' has no query and no key"),
        ("xvolution", {"frozen_query_key": 1}, "frozen_query_key must be true or false, got 1"),
        ("pssa", {"position_encoding": "yes"}, "position_encoding must be true or false, got 'yes'"),
        ("pssa", {"shift_distances": ()}, "at least one distance"),
        ("pssa", {"shift_distances": (1, 1)}, "each once"),
        ("pssa", {"shift_distances": (1, -3)}, "got -3"),
        ("pssa", {"shift_distances": 3}, "must list positive integers"),
        ("pssa", {"centre": "true"}, "centre must be true or false"),
        ("pssa", {"propagate": None}, "propagate must be true or false"),
        ("convolution", {"kernel_size": 4}, "kernel_size must be odd, so that the kernel has a centre, got 4"),
        ("convolution", {"kernel_size": 2.5}, "kernel_size must be a positive integer, got 2.5"),
        ("multi_convolution", {"dilated_kernel_size": 0}, "dilated_kernel_size must be a positive integer, got 0"),
        ("xvolution", {"form": "static", "position_encoding": True}, "has no product"),
        ("self_attention", {"output_projection": "no"}, "output_projection must be true or false, got 'no'"),
        ("self_attention", {"num_heads": 3, "key_channels": 8}, "num_heads=3 does not divide key_channels=8"),
        ("self_attention", {"position_encoding": 1}, "position_encoding must be true or false, got 1"),
        ("self_attention", {"position_size": 7}, "position_size=7 does nothing with position_encoding=False"),
        ("self_attention", {"position_size": 0, "position_encoding": True}, "position_size must be a positive integer"),
        ("self_attention", {"softmax": "no"}, "softmax must be true or false, got 'no'"),
        ("xvolution_sa", {"softmax": False, "position_encoding": True}, "position_encoding=True needs softmax=True"),
        ("aa_convolution", {"num_heads": 5}, "num_heads=5 does not divide out_channels=12"),
        ("aa_convolution", {"key_ratio": 0}, "key_ratio must be a number above 0, got 0"),
        ("aa_convolution", {"value_ratio": 1.5}, "value_ratio must be a number above 0 and at most 1, got 1.5"),
        ("aa_convolution", {"min_key_channels": 0}, "min_key_channels must be a positive integer, got 0"),
        ("aa_convolution", {"kernel_size": 2}, "kernel_size must be odd"),
        ("involution", {"group_channels": 5}, "group_channels=5 does not divide out_channels=12"),
        ("involution", {"kernel_size": 6}, "kernel_size must be odd, so that the kernel has a centre, got 6"),
        ("involution", {"reduction": 0.5}, "reduction must be a positive integer, got 0.5"),
        ("involution", {"position_encoding": True}, "no option 'position_encoding'"),
        ("xvolution_sa", {"num_heads": 7}, "num_heads=7 does not divide out_channels=12"),
        ("xvolution_inv", {"involution_kernel_size": 4}, "kernel_size must be odd"),
        ("wide_convolution", {"kernel_size": 4}, "kernel_size must be odd, so that the kernel has a centre, got 4"),
        ("wide_convolution", {"num_heads": 5}, "num_heads=5 does not divide out_channels=12"),
        ("xvolution_pointwise", {"num_heads": 5}, "num_heads=5 does not divide out_channels=12"),
        ("paired_convolution", {"second_kernel_size": 4}, "second_kernel_size must be odd"),
        ("se_convolution", {"reduction": 0}, "reduction must be a positive integer, got 0"),
        ("se_convolution", {"kernel_size": 2}, "kernel_size must be odd"),
        ("se_convolution", {"squeeze_start": "pair"}, "unknown squeeze_start 'pair' (did you mean 'pairs'?)"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        build_operator(name, 6, 12, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 12), "in_channels must be a positive integer, got 0"),
        ((6, "12"), "out_channels must be a positive integer, got '12'"),
        ((6, 12, 3), "stride must be 1 or 2, got 3"),
        ((6, 12, True), "stride must be 1 or 2, got True"),
    ],
)
@pytest.mark.parametrize("name", OPERATORS)
def test_wrong_channels_and_strides_are_named(name: str, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        build_operator(name, *arguments)


@pytest.mark.parametrize("size", [(0, 8), (8, -1), (8.0, 8)])
@pytest.mark.parametrize("name", OPERATORS)
def test_macs_refuses_a_map_without_pixels(name: str, size: tuple[Any, Any]) -> None:
    with pytest.raises(UserError, match="must be a positive integer"):
        build_operator(name, 6, 12).macs(*size)


@pytest.mark.parametrize("name", OPERATORS)
def test_options_are_printed(name: str) -> None:
    text = repr(build_operator(name, 6, 12, 2))
    assert "6, 12, stride=2" in text
    if "form" in OPERATORS[name].options:
        assert "form=dot, shift_distances=(1, 3, 5), num_heads=1, normalize=True" in text


@pytest.mark.parametrize(("channels", "heads"), [(1, 1), (64, 1), (127, 1), (128, 2), (192, 3), (320, 5), (446, 2)])
def test_default_number_of_heads(channels: int, heads: int) -> None:
    assert head_count(None, channels) == heads


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (16, 1), (24, 1), (32, 2), (40, 2), (48, 3), (106, 2)])
def test_default_number_of_groups(channels: int, groups: int) -> None:
    assert group_count(None, channels) == groups


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, lightning_xvol.operators as o; o.OPERATORS; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_exports_operators() -> None:
    assert lightning_xvol.build_operator is build_operator
    assert lightning_xvol.OPERATORS is OPERATORS
    assert set(lightning_xvol.__all__) <= set(dir(lightning_xvol))
    with pytest.raises(AttributeError, match="no attribute 'operator'"):
        lightning_xvol.operator  # noqa: B018
