"""Trained operators for the tests of fusion, in every form and after some training.

No statistic and no weight is left at a neutral value, which would hide a wrong fold.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lightning_xvol.operators import build_operator

PSSA_FORMS = (
    "dot", "hadamard", "hadamard_no_value", "dense", "softmax", "static", "static_channel", "static_dense",
)  # fmt: skip
BRANCHES = {"kernel_size": 1}, {"dilated_kernel_size": None}, {"kernel_size": 9}
SELF_ATTENTION = {"num_heads": 2, "key_channels": 8, "position_encoding": True, "position_size": 6}
BIASED = {"position_encoding": True, "num_heads": 3, "normalize": False}

# Operator and options: every form, and every option that a fold has to consider.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("multi_convolution", {}),
    *[("multi_convolution", options) for options in BRANCHES],
    *[("pssa", {"form": form}) for form in PSSA_FORMS],
    *[("pssa", {"form": form, "propagate": True, "centre": True}) for form in PSSA_FORMS],
    ("pssa", {**BIASED, "shift_distances": (2, 1)}),
    ("pssa", {**BIASED, "form": "hadamard", "normalize": True, "propagate": True}),
    ("pssa", {"form": "hadamard_no_value", "normalize": True, "num_heads": 4}),
    ("pssa", {"form": "dense", "normalize": True, "num_heads": 2, "centre": True}),
    *[("xvolution", {"form": form}) for form in PSSA_FORMS],
    *[("xvolution", {**options, "form": "static_channel", "centre": True}) for options in BRANCHES],
    ("xvolution", {**BIASED, "shift_distances": (1, 2), "centre": True}),
    ("xvolution", {"position_encoding": True, "form": "hadamard", "normalize": False}),
    ("xvolution", {"position_encoding": True, "form": "hadamard", "shift_distances": (1,)}),
    ("self_attention", {"num_heads": 3}),
    ("self_attention", {**SELF_ATTENTION, "output_projection": True}),
    ("self_attention", {"num_heads": 3, "softmax": False}),
    ("aa_convolution", {"num_heads": 2}),
    ("aa_convolution", {"value_ratio": 1.0, "position_encoding": True, "position_size": 5}),
    ("involution", {}),
    ("involution", {"kernel_size": 3, "group_channels": 2, "reduction": 1}),
    ("xvolution_sa", {}),
    ("xvolution_sa", SELF_ATTENTION),
    ("xvolution_sa", {**SELF_ATTENTION, "output_projection": True}),
    ("xvolution_sa", {"num_heads": 2, "softmax": False, "output_projection": True}),
    ("xvolution", {"num_heads": 2, "frozen_query_key": True}),
    ("pssa", {"form": "softmax", "normalize": True, "num_heads": 3}),
    ("paired_convolution", {}),
    ("paired_convolution", {"second_kernel_size": 5, "dilated_kernel_size": None}),
    ("xvolution_inv", {}),
    ("xvolution_inv", {"kernel_size": 1, "involution_kernel_size": 3, "group_channels": 4}),
]


def name_of(case: Any) -> str:
    return " ".join(f"{name}={value}" for name, value in case.items()) if isinstance(case, dict) else str(case)


def shake(module: nn.Module) -> nn.Module:
    """Make weights nonzero, and statistics and affine parameters of batch norms random, with scales of both signs."""
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter)
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            for tensor, low, high in [
                (norm.weight, -2.0, 2.0),
                (norm.bias, -1.0, 1.0),
                (norm.running_mean, -1.0, 1.0),
                (norm.running_var, 0.2, 3.0),
            ]:
                if tensor is not None:
                    nn.init.uniform_(tensor, low, high)
    return module


def train(module: nn.Module, shape: tuple[int, ...], steps: int = 3) -> nn.Module:
    """A few steps of SGD on noise, then eval mode."""
    optimizer = torch.optim.SGD(module.train().parameters(), lr=0.01, momentum=0.9)
    for _ in range(steps):
        dtype = next(module.parameters()).dtype
        loss = (module(torch.randn(shape, dtype=dtype)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module.eval()


def trained(name: str, stride: int = 1, channels: tuple[int, int] = (6, 12), **options: Any) -> nn.Module:
    """A trained operator in float64."""
    torch.manual_seed(0)
    operator = build_operator(name, *channels, stride, **options).double()
    return shake(train(shake(operator), (4, channels[0], 9, 8)))


def error(found: Tensor, expected: Tensor) -> float:
    """The largest difference divided by the largest entry."""
    assert found.shape == expected.shape and found.dtype == expected.dtype
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())
