"""A deep copy of a person's model, which may hold what Python cannot copy."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from lightning_xvol.errors import UserError


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of `model`.

    Raises:
        UserError: with the path of what cannot be copied, for example a weight that old-style weight norm computes.
    """
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"cannot copy the model: {_reason(model, error)}") from error


def _reason(model: nn.Module, error: Exception) -> str:
    for path, value in _attributes(model):
        try:
            copy.deepcopy(value)
        except (RuntimeError, TypeError) as own:
            if isinstance(value, Tensor) and value.grad_fn is not None:
                return (
                    f"{path} is computed from other tensors, as old-style weight norm, spectral norm and pruning leave "
                    "it; call torch.nn.utils.remove_weight_norm, remove_spectral_norm or prune.remove first, or use "
                    "torch.nn.utils.parametrizations"
                )
            return f"{path} cannot be copied ({_first_sentence(own)}); remove it first"
    return _first_sentence(error)


def _attributes(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The path and value of every attribute that is no module, parameter or buffer."""
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name != "_modules":
                yield f"{path or type(module).__name__}.{name}", value


def _first_sentence(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
