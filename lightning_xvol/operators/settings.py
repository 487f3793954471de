"""What a person may have set on a module beside its weights: the one list that replacing and fusing compare.

A module that takes the place of another has none of these. So each of them is refused or carried over, never dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.utils import parametrize

SETTINGS = ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
"""The settings of an `nn.Conv2d` that change what it computes, beside its bias."""


def additions(module: nn.Module) -> str | None:
    """What was added to `module` after it was built, in words; None where nothing was.

    Hooks and a `forward` of the instance change what it computes. Old-style weight norm, spectral norm and pruning are
    such hooks, and the newer ones are parametrizations.
    """
    if parametrize.is_parametrized(module):
        return f"parametrizations of its {', '.join(module.parametrizations)}"  # type: ignore[arg-type]
    if "forward" in vars(module):
        return "a replaced forward"
    hooks = [name for name, value in vars(module).items() if name.endswith("_hooks") and value]
    return hooks[0].strip("_").replace("_", " ") if hooks else None


def parameter_hooks(module: nn.Module) -> str | None:
    """The name of a parameter of `module` itself that has gradient hooks; None where none has."""
    for name, parameter in module.named_parameters(recurse=False):
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            return name
    return None


def pair(setting: int | Sequence[int]) -> tuple[int, int]:
    """A setting of an `nn.Conv2d` in height and width. PyTorch takes one number for both too, set after building."""
    values = (setting,) if isinstance(setting, int) else tuple(setting)
    return values[0], values[-1]


def padding_of(convolution: nn.Conv2d) -> tuple[int, int]:
    """The padding in pixels, also where it is written as "same" or "valid"."""
    if convolution.padding == "valid":
        return 0, 0
    if convolution.padding == "same":
        (height, width), (down, right) = pair(convolution.kernel_size), pair(convolution.dilation)
        return down * (height - 1) // 2, right * (width - 1) // 2
    return pair(convolution.padding)  # type: ignore[arg-type]
