"""Operators by name. Importing this package does not load torch; building one does."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from lightning_xvol.config import registry
from lightning_xvol.config.registry import OPERATORS
from lightning_xvol.errors import UserError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OPERATORS", "build_operator"]


def build_operator(name: str, in_channels: int, out_channels: int, stride: int = 1, **options: Any) -> nn.Module:
    """Build a module that maps `[B, in_channels, H, W]` to `[B, out_channels, ceil(H / stride), ceil(W / stride)]`.

    Args:
        name: a registered name or an import path `package.module:Class`, whose class is called as
            `Class(in_channels, out_channels, stride=stride, **options)`.
        options: options of the operator; the registry lists them with their defaults. For an import path the
            constructor itself checks its options.

    Raises:
        UserError: for an unknown name or option, or a value that the operator refuses. It is a `ValueError`.
    """
    resolved = registry.resolve_options("operator", name, options)
    operator = registry.load("operator", name)
    if name not in OPERATORS:
        _check_call(name, operator, in_channels, out_channels, stride, resolved)
    module: nn.Module = operator(in_channels, out_channels, stride=stride, **resolved)
    return module


def _check_call(
    name: str, operator: Any, in_channels: int, out_channels: int, stride: int, options: dict[str, Any]
) -> None:
    """Refuse a user's class that does not take these arguments, instead of crashing inside our code."""
    try:
        inspect.signature(operator).bind(in_channels, out_channels, stride=stride, **options)
    except TypeError as error:
        raise UserError(
            f"operator {name!r} cannot be called as Class(in_channels, out_channels, stride=..., **{options}): {error}"
        ) from error
