"""The base class of every operator, and small functions that operators share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from lightning_xvol.errors import UserError
from lightning_xvol.kernels.plain import transformed
from lightning_xvol.operators import checks
from lightning_xvol.operators.marks import read_mark

FUSED = "fused"
"""The name of a buffer that only a fused operator has.

It holds 1, or 2 where the batch norm of the operator's block is folded into the operator too.
"""


class Operator(nn.Module):
    """Maps `[B, in_channels, H, W]` to `[B, out_channels, ceil(H / stride), ceil(W / stride)]` for any H, W >= 1.

    This is the size contract of `nn.Conv2d(kernel_size=k, padding=k // 2)` with odd k.

    Raises:
        UserError: for channels that are not positive integers, or a stride other than 1 and 2. Also for loading the
            weights of a fused operator into one that is not fused, or the other way round.
    """

    fusion = 0  # the value of the buffer `FUSED`, 0 where there is none

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.in_channels = checks.positive_int("in_channels", in_channels)
        self.out_channels = checks.positive_int("out_channels", out_channels)
        self.stride = checks.stride_1_or_2(stride)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the operator. One image without a batch, `[C_in, H, W]`, gives `[C_out, H', W']`, as in `nn.Conv2d`.

        A symbolic trace (`torch.fx`) takes the operator as one node: it looks at sizes inside.
        """
        inputs = (*args, *kwargs.values())
        proxy = next((x for x in inputs if isinstance(x, Proxy)), None)
        if proxy is not None:
            return _leaf(self, proxy.tracer, args, kwargs)
        if len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].dim() == 3:
            return super().__call__(inputs[0].unsqueeze(0)).squeeze(0)
        return super().__call__(*args, **kwargs)

    @abstractmethod
    def macs(self, height: int, width: int) -> int:
        """Multiplications per image at an input of `height` x `width`, counted from the operator's formula.

        The count includes convolutions, matrix products and taps, also in the zero border, and does not depend on the
        path that computes them. It leaves out batch norm, softmax, L2 normalisation and other scaling.
        """

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output."""
        checks.positive_int("height", height)
        checks.positive_int("width", width)
        return -(-height // self.stride), -(-width // self.stride)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        _check_fusion(self.fusion, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _leaf(module: nn.Module, tracer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A node that calls `module`, made by the tracer of torch.fx, or of a library's feature extraction."""

    def node(*args: Any, **kwargs: Any) -> Any:
        return tracer.create_proxy("call_module", tracer.path_of_module(module), args, kwargs)

    return tracer.call_module(module, node, args, kwargs)


def _check_fusion(own: int, state_dict: dict[str, Any], prefix: str) -> None:
    """Refuse weights of the other kind in one sentence, where PyTorch would list keys."""
    key = f"{prefix}{FUSED}"
    mark = read_mark(state_dict, key, (1, 2), own)
    if mark == own or (mark is None and key in state_dict):
        return
    if mark is None:
        if own == 0 or not any(key.startswith(prefix) for key in state_dict):
            return
        made, remedy = _FUSIONS[0], "load them before fuse, not after"
    else:
        call = f"fuse(model.eval(){', block_norms=True' if mark == 2 else ''})"
        made, remedy = _FUSIONS[mark], f"load them into {call}, made from a model that is not fused"
    where = f" (at {prefix.rstrip('.')})" if prefix else ""
    raise UserError(f"these weights are of {made} and the model has {_FUSIONS[own]}{where}: {remedy}")


_FUSIONS = ("an operator that is not fused", "a fused operator", "an operator fused with block_norms=True")


def initialise(conv: nn.Conv2d) -> None:
    """He's initialisation, as in torchvision's ResNets: a convolution that replaces one of theirs starts the same."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


def conv_macs(conv: nn.Conv2d, height: int, width: int) -> int:
    """Multiplications of a padded convolution at an input of `height` x `width`."""
    positions = -(-height // conv.stride[0]) * -(-width // conv.stride[1])
    return positions * conv.weight.numel()


def same_memory_format(y: Tensor, x: Tensor) -> Tensor:
    """`y` in the memory format of `x`: channels_last in, channels_last out. Under `torch.func` `y` stays as it is."""
    if transformed():
        return y  # vmap cannot tell the memory format
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        return y.contiguous(memory_format=torch.channels_last)
    return y.contiguous()


def autocast_dtype(x: Tensor) -> torch.dtype:
    """The dtype that a convolution of `x` has here, which autocast may change. It leaves float64 as it is."""
    device = x.device.type
    if x.dtype != torch.float64 and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype
