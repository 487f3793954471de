"""`macs` against the number of multiplications that the literal reference executes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_xvol import kernels
from lightning_xvol.kernels.spec import FORMS
from lightning_xvol.operators import build_operator


class Multiplications(TorchDispatchMode):
    """Counts the multiplications of convolutions, matrix products and products of two tensors as they run."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name == "convolution":
            self.count += result.numel() * args[1][0].numel()
        elif name in ("mm", "bmm"):
            self.count += result.numel() * args[0].shape[-1]
        elif name.startswith("_scaled_dot_product"):  # from an operator that is not ours; our reference writes it out
            query, key = args[:2]
            self.count += 2 * query.numel() * key.shape[-2]
        elif name == "mul" and all(isinstance(factor, torch.Tensor) and factor.dim() for factor in args):
            self.count += result.numel()
        elif name in ("addmm", "baddbmm", "addcmul", "mul_"):
            raise AssertionError(f"{name} is not counted")
        return result


def counted(operator: torch.nn.Module, in_channels: int, size: tuple[int, int]) -> int:
    x = torch.randn(1, in_channels, *size)
    with torch.no_grad(), kernels.force("reference"), Multiplications() as multiplications:
        operator.eval()(x)
    return multiplications.count


@pytest.mark.parametrize("stride", [1, 2])
def test_macs_of_every_operator(case: Any, stride: int) -> None:
    operator = case.build(stride=stride)
    for size in [(1, 1), (7, 10), (16, 13)]:
        assert operator.macs(*size) == counted(operator, 6, size), f"at {size}"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("options", [{"centre": True}, {"propagate": True}, {"shift_distances": [2]}], ids=str)
def test_macs_of_pssa_options(form: str, options: dict[str, Any]) -> None:
    for stride in (1, 2):
        operator = build_operator("pssa", 6, 12, stride, form=form, **options)
        assert operator.macs(9, 8) == counted(operator, 6, (9, 8)), f"stride {stride}"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pssa", {"num_heads": 4, "position_encoding": True}),
        ("pssa", {"form": "hadamard", "num_heads": 3, "position_encoding": True}),
        ("pssa", {"form": "static", "num_heads": 4}),
        ("self_attention", {"num_heads": 4, "output_projection": True}),
        ("self_attention", {"num_heads": 3, "key_channels": 9, "position_encoding": True, "position_size": 5}),
        ("aa_convolution", {"num_heads": 2, "value_ratio": 0.5, "min_key_channels": 3, "kernel_size": 5}),
        ("aa_convolution", {"value_ratio": 1, "position_encoding": True}),
        ("involution", {"kernel_size": 3, "group_channels": 4, "reduction": 2}),
        ("xvolution_sa", {"dilated_kernel_size": None, "num_heads": 4, "position_encoding": True}),
        ("xvolution_inv", {"kernel_size": 1, "involution_kernel_size": 5, "group_channels": 3}),
        ("convolution", {"kernel_size": 7}),
        ("xvolution", {"kernel_size": 1, "dilated_kernel_size": None, "num_heads": 4}),
    ],
    ids=str,
)
def test_macs_of_other_options(name: str, options: dict[str, Any]) -> None:
    operator = build_operator(name, 6, 12, 2, **options)
    assert operator.macs(9, 8) == counted(operator, 6, (9, 8))


def test_macs_by_hand() -> None:
    # 64 positions; q, k, v of 16 * 16 each; 24 taps of a product (16), a weight per head (4) and a value (16).
    assert build_operator("pssa", 16, 16, num_heads=4).macs(8, 8) == 64 * (3 * 256 + 24 * (16 + 4 + 16))
    # Reduction to 8 channels, 49 entries for each of 2 groups, 49 taps of 32 channels.
    assert build_operator("involution", 32, 32).macs(8, 8) == 64 * (32 * 8 + 8 * 98 + 49 * 32)
    # q, k, v; 64 * 64 pairs, each by the query and by the value; of every query 8 rows and 8 columns.
    attention = build_operator("self_attention", 16, 16, position_encoding=True)
    assert attention.macs(8, 8) == 64 * 3 * 256 + 2 * 16 * 64 * 64 + 16 * 64 * (8 + 8)
